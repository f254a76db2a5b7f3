"""What is held of a policy: the rest of it stays as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from damos_agent.algo.overlay import FREE, PACE_BYTES, Hold, is_stopped, overlay, pages_out
from damos_agent.model.policy import (
    Action,
    Destination,
    Goal,
    GoalMetric,
    Mode,
    Pattern,
    PhysicalTarget,
    Policy,
    Quota,
    Scheme,
)

MIB = 1 << 20
COLD = Pattern(access_max_bp=0, age_min_us=120_000_000)
OUT = Scheme(Action.PAGEOUT, COLD, quota=Quota(size=64 * MIB, time_us=10_000))
SORT = Scheme(Action.LRU_PRIO, Pattern(access_min_bp=5_000), quota=Quota(size=8 * MIB))
BOTH = Policy("p", PhysicalTarget(), (OUT, SORT), Mode.ENFORCE)


def quota_of(policy: Policy, index: int = 0) -> Quota:
    quota = policy.schemes[index].quota
    assert quota
    return quota


def test_nothing_held_is_the_policy_itself() -> None:
    assert overlay(BOTH, FREE) is BOTH


def test_a_guard_stops_what_pages_out_and_nothing_else() -> None:
    held = overlay(BOTH, Hold(reclaim_why="guard: refaults"))
    assert [s.action for s in held.schemes] == [Action.STAT, Action.LRU_PRIO]
    assert replace(held.schemes[0], action=Action.PAGEOUT) == OUT  # quota and pattern stay
    assert held.schemes[1] == SORT


def test_a_switch_stops_everything() -> None:
    tiering = Scheme(Action.MIGRATE_COLD, COLD, destinations=(Destination(1),))
    held = overlay(replace(BOTH, schemes=(OUT, SORT, tiering)), Hold(all_why="paused"))
    assert {s.action for s in held.schemes} == {Action.STAT}
    assert held.schemes[2].destinations == ()  # for `stat` they would be refused


def test_a_share_slows_down_what_pages_out() -> None:
    held = overlay(BOTH, Hold(share_bp=2_500))
    assert (quota_of(held).size, quota_of(held).time_us) == (16 * MIB, 2_000)
    assert held.schemes[1] == SORT


def test_no_limit_becomes_a_share_of_a_pace() -> None:
    bare = replace(BOTH, schemes=(replace(OUT, quota=None),))
    quota = quota_of(overlay(bare, Hold(share_bp=5_000)))
    assert (quota.size, quota.interval_us) == (PACE_BYTES // 2, 1_000_000)
    slow = replace(BOTH, schemes=(replace(OUT, quota=Quota(interval_us=500_000)),))
    assert quota_of(overlay(slow, Hold(share_bp=5_000))).size == PACE_BYTES // 4


def test_a_quota_of_time_only_stays_one() -> None:
    timed = replace(BOTH, schemes=(replace(OUT, quota=Quota(time_us=10_000)),))
    quota = quota_of(overlay(timed, Hold(share_bp=625)))
    assert (quota.size, quota.time_us) == (0, 1_000)  # 0 ms would be no limit at all


def test_the_least_share_never_is_no_limit() -> None:
    small = replace(BOTH, schemes=(replace(OUT, quota=Quota(size=4096)),))
    assert quota_of(overlay(small, Hold(share_bp=1))).size == 4096


def test_a_steered_quota_takes_the_place_of_the_cap_and_goals_stay() -> None:
    goal = Goal(GoalMetric.MEMORY_PSI_SOME, 100)
    steered = replace(BOTH, schemes=(replace(OUT, quota=Quota(size=64 * MIB, goals=(goal,))),))
    quota = quota_of(overlay(steered, Hold(sizes={0: 3 * MIB})))
    assert (quota.size, quota.goals) == (3 * MIB, (goal,))
    assert quota_of(overlay(steered, Hold(sizes={0: 4 * MIB}, share_bp=2_500))).size == MIB


def test_who_observes_is_left_alone() -> None:
    observing = replace(BOTH, mode=Mode.OBSERVE)
    assert overlay(observing, Hold(all_why="paused")) is observing
    assert not is_stopped(observing, Hold(all_why="paused"))
    assert not pages_out(observing)


@pytest.mark.parametrize(
    ("schemes", "hold", "stopped"),
    [
        ((OUT,), Hold(reclaim_why="guard"), True),
        ((SORT,), Hold(reclaim_why="guard"), False),
        ((SORT,), Hold(all_why="paused"), True),
        ((OUT,), Hold(share_bp=625), False),
    ],
)
def test_what_counts_as_stopped(schemes: tuple[Scheme, ...], hold: Hold, stopped: bool) -> None:
    assert is_stopped(replace(BOTH, schemes=schemes), hold) is stopped
