"""A target filter means a process of the policy's list, and nobody else in its place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from damos_agent.algo.aim import NOBODY, aim, check_aim, in_order
from damos_agent.model.damon import PLACEHOLDER_PID, Placement
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import (
    Filter,
    FilterType,
    PidTarget,
    Policy,
    ProcessTarget,
    Target,
)
from tests.kernel.desk import reclaim

FREE = Placement(PLACEHOLDER_PID, 0)


def sparing(index: int, *pids: int, target: Target | None = None) -> Policy:
    policy = reclaim("a", *pids)
    item = Filter(FilterType.TARGET, allow=False, target_index=index)
    scheme = replace(policy.schemes[0], filters=(item,))
    return replace(policy, schemes=(scheme,), target=target or policy.target)


def placed(*pids: int) -> tuple[Placement, ...]:
    return tuple(FREE if pid == PLACEHOLDER_PID else Placement(pid, 1) for pid in pids)


@pytest.mark.parametrize(
    ("index", "monitored", "expected"),
    [
        (0, (30, 10, 20), 1),
        (1, (30, 10, 20), 2),
        (2, (30, 10, 20), 0),
        (0, (20, 30), NOBODY),
        (1, (20, 30), 0),
        (1, (10, PLACEHOLDER_PID, 20), 2),
        (1, (10, PLACEHOLDER_PID, 30), NOBODY),
    ],
)
def test_the_index_follows_the_process(
    index: int, monitored: tuple[int, ...], expected: int
) -> None:
    aimed = aim(sparing(index, 10, 20, 30), placed(*monitored))
    assert aimed.schemes[0].filters[0].target_index == expected


def test_other_filters_and_policies_are_left_as_they_are() -> None:
    policy = reclaim("a", 10, 20)
    anon = replace(policy.schemes[0], filters=(Filter(FilterType.ANON, allow=True),))
    policy = replace(policy, schemes=(anon,))
    assert aim(policy, placed(20, 10)) == policy


def test_of_processes_without_order_none_can_be_chosen() -> None:
    """Such a policy can only come from a version that still let it pass."""
    with pytest.raises(UnsupportedError):
        check_aim(sparing(0, target=ProcessTarget(exe="a")))


def test_whoever_is_missing_from_a_list_leaves_a_gap() -> None:
    assert in_order(PidTarget((10, 20, 30)), placed(30, 10)) == placed(10, PLACEHOLDER_PID, 30)
    assert in_order(PidTarget((10, 20, 10)), placed(20, 10)) == placed(10, 20, PLACEHOLDER_PID)
    assert in_order(ProcessTarget(exe="a"), placed(30, 10)) == placed(30, 10)
