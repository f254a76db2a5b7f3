"""Every decision can be made again from its own record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.guard import Guard, Signal, Stage, guard
from damos_agent.algo.record import (
    Decision,
    Effect,
    GoalValue,
    GuardDecision,
    OutcomeRecord,
    QuotaDecision,
    Savings,
    disagreements,
    limit_of,
    recompute,
)
from damos_agent.algo.steer import Bounds, Reason, Steering, begin, steer
from damos_agent.model.codec import decode, encode
from damos_agent.model.policy import Goal, GoalMetric
from damos_agent.model.status import SchemeOutcome

S = 1_000_000
MIB = 1 << 20
PSI = Goal(GoalMetric.MEMORY_PSI_FULL, 100)
OUTCOME = SchemeOutcome(0, "pageout", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None)


def record(*decisions: Decision, left_out: int = 0) -> OutcomeRecord:
    return OutcomeRecord(
        "p", "d", "enforce", "active", "kernel", 1.5, 2 * S, S, "none", "", (), decisions,
        Effect(0, 0, None, None, None), None, 0, Savings(9, 2, 3), 4, (OUTCOME,), left_out,
    )  # fmt: skip


def guarded(levels: list[int | None]) -> list[GuardDecision]:
    """What the guard does at these levels, a look a second."""
    made, state = [], Guard()
    for second, level in enumerate(levels):
        signals = (Signal("refaults", level, f"at {level}"), Signal("cpu", 100))
        after = guard(state, signals, second * S)
        made.append(GuardDecision(second * S, state, signals, after))
        state = after
    return made


def steered(steps: list[tuple[int | None, int]]) -> list[QuotaDecision]:
    """What the tuner does at these values and bytes used."""
    bounds = Bounds(4096, 64 * MIB, MIB, 1)
    made, state = [], begin(bounds)
    for number, (value, used) in enumerate(steps):
        after = steer(state, value * 100 if value is not None else None, used, bounds)
        goals = (GoalValue(PSI, value),)
        size = min(after.quota, 8192)
        step = QuotaDecision(number * 5 * S, 0, goals, used, bounds, state, after, 4096, 2, size)
        made.append(step)
        state = after
    return made


LEVELS = st.lists(st.none() | st.integers(0, 60_000), min_size=1, max_size=40)
STEPS = st.lists(
    st.tuples(st.none() | st.integers(0, 400), st.integers(0, 64 * MIB)), min_size=1, max_size=40
)


@given(LEVELS, STEPS)
def test_decisions_come_out_the_same_after_a_way_through_json(
    levels: list[int | None], steps: list[tuple[int | None, int]]
) -> None:
    whole = [record(*guarded(levels)[:20]), record(*guarded(levels)[20:]), record(*steered(steps))]
    read = [decode(OutcomeRecord, encode(one)) for one in whole]
    assert read == whole
    assert list(disagreements(read)) == []


@given(LEVELS)
def test_a_decision_that_was_another_is_found(levels: list[int | None]) -> None:
    decisions = guarded(levels)
    wrong = replace(decisions[-1], after=replace(decisions[-1].after, share_bp=1_234))
    (found,) = disagreements([record(*decisions[:-1], wrong)])
    assert found[1] == wrong
    assert recompute(wrong) == decisions[-1].after


def test_a_size_that_was_another_is_found() -> None:
    (step,) = steered([(50, 0)])
    assert list(disagreements([record(step)])) == []
    assert len(list(disagreements([record(replace(step, size=step.size + 1))]))) == 1


def test_a_gap_between_decisions_is_found_unless_it_is_told() -> None:
    decisions = guarded([100, 12_000, 12_000, 12_000, 100, 100])
    assert len(list(disagreements([record(*decisions[:1]), record(*decisions[2:])]))) == 1
    told = record(*decisions[2:], left_out=1)
    assert list(disagreements([record(*decisions[:1]), told])) == []


def test_net_is_what_is_left_of_gross() -> None:
    assert Savings(100, 40, 10).net == 50
    assert Savings(10, 4, 30).net == -24


@pytest.mark.parametrize(
    ("held", "state", "steering", "scheme", "code"),
    [
        ("paused", Guard(Stage.TRIPPED, 0, signal="cpu"), (), OUTCOME, "switch"),
        ("", Guard(Stage.PAUSED, 0, signal="refaults"), (), OUTCOME, "guard:refaults"),
        ("", Guard(Stage.SLOW, 625), (), OUTCOME, "guard:recovering"),
        ("", Guard(), (Steering(5, 5, reason=Reason.MET),), OUTCOME, "goal:met"),
        ("", Guard(), (Steering(5, 5, reason=Reason.UNUSED),), OUTCOME, "pattern"),
        ("", Guard(), (), replace(OUTCOME, qt_exceeds_delta=3), "quota"),
        ("", Guard(), (), OUTCOME, "pattern"),
        ("", Guard(), (), replace(OUTCOME, nr_tried_delta=3), "none"),
    ],
)
def test_what_limits(
    held: str, state: Guard, steering: tuple[Steering, ...], scheme: SchemeOutcome, code: str
) -> None:
    assert limit_of((scheme,), held, state, steering)[0] == code
