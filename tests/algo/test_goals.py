"""Who tunes by which goal, from where, and what is left for the kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from damos_agent.algo.goals import (
    GOAL_FEATURES,
    STEP_US,
    UNMEASURED,
    allowed,
    bounds_of,
    is_steered,
    lift,
    moved,
    pushed,
    room,
    score,
    split,
    step_us,
    why_agent,
)
from damos_agent.kernel.features import profile_of
from damos_agent.model.feature import Feature, Features, Source
from damos_agent.model.policy import (
    KERNEL_METRICS,
    Action,
    External,
    Goal,
    GoalMetric,
    Mode,
    PhysicalTarget,
    Policy,
    Quota,
    Scheme,
    Tuner,
)

MIB = 1 << 20
NEW, OLD = profile_of("7.3"), profile_of("6.12")
PSI = Goal(GoalMetric.MEMORY_PSI_SOME, 100)
RSS = Goal(GoalMetric.RSS, 64 * MIB)
NONE = Features("6.1.0", Source.ABSENT, detail="none")


def with_goals(*goals: Goal, **quota: object) -> Policy:
    given = Quota(size=64 * MIB, goals=goals, **quota)  # type: ignore[arg-type]
    return Policy("p", PhysicalTarget(), (Scheme(Action.PAGEOUT, quota=given),), Mode.ENFORCE)


def test_every_metric_is_the_kernels_the_agents_or_nobodys() -> None:
    everything = Features("7.3.4", Source.BTF, frozenset(Feature))
    for metric in GoalMetric:
        agents = bool(why_agent(Goal(metric, 1), everything))
        assert agents is (metric not in KERNEL_METRICS and metric not in UNMEASURED)
    assert GOAL_FEATURES.keys() == KERNEL_METRICS.keys()


@pytest.mark.parametrize(
    ("release", "agents"),
    [("7.3.4-cloud", False), ("7.4.1", False), ("7.3.3", True), ("7.2.13", True), ("6.12", True)],
)
def test_the_kernel_is_trusted_with_pressure_only_since_it_was_mended(
    release: str, agents: bool
) -> None:
    features = replace(NEW, release=release)
    assert bool(why_agent(PSI, features)) is agents
    if agents:
        assert release in why_agent(PSI, features)


def test_what_an_old_kernel_lacks_the_agent_measures() -> None:
    goal = Goal(GoalMetric.NODE_MEM_FREE, 500, nid=0)
    assert why_agent(goal, OLD) == "kernel 6.12 does not measure it"
    assert not why_agent(goal, NEW)


def test_without_damon_the_monitor_tunes_what_the_kernel_would() -> None:
    assert not why_agent(PSI, NONE)
    assert why_agent(RSS, NONE)


def test_scope_and_source_are_the_agents() -> None:
    assert "control group" in why_agent(replace(PSI, cgroup="/x"), NEW)
    fed = Goal(GoalMetric.USER_INPUT, 5, source=External("p99"))
    assert "outside" in why_agent(fed, NEW)
    assert not why_agent(Goal(GoalMetric.USER_INPUT, 5, 3), NEW)


def test_the_kernel_keeps_its_goals_below_a_cap_that_the_agent_moves() -> None:
    policy = with_goals(PSI, RSS)
    assert split(policy.schemes[0], NEW) == ((PSI,), (RSS,))
    (lifted,) = lift(policy, NEW).schemes
    assert lifted.quota == Quota(size=MIB, goals=(PSI,))
    assert is_steered(policy, NEW)


def test_without_a_goal_the_kernel_gets_no_tuner() -> None:
    (lifted,) = lift(with_goals(RSS, tuner=Tuner.TEMPORAL), NEW).schemes
    assert lifted.quota == Quota(size=MIB)


def test_what_is_not_steered_is_left_alone() -> None:
    for policy in (with_goals(PSI), with_goals(), replace(with_goals(RSS), mode=Mode.OBSERVE)):
        assert lift(policy, NEW) is policy


def test_it_begins_with_a_seed_and_has_a_cap_even_where_the_policy_names_none() -> None:
    bounds = bounds_of(Quota(size=64 * MIB), (RSS,))
    assert (bounds.floor, bounds.cap, bounds.seed, bounds.lag) == (4096, 64 * MIB, MIB, 0)
    assert bounds_of(Quota(time_us=5_000, interval_us=500_000), (RSS,)).cap == 512 * MIB
    assert bounds_of(Quota(size=4096), (RSS,)).seed == 4096


def test_the_slowest_goal_sets_the_lag() -> None:
    refaults = Goal(GoalMetric.REFAULT_RATE, 20)
    assert bounds_of(Quota(size=MIB), (RSS, PSI, refaults)).lag == 3
    assert bounds_of(Quota(size=MIB), (RSS, PSI)).lag == 1


def test_steps_are_whole_quota_intervals() -> None:
    assert step_us(Quota(interval_us=1_000_000)) == STEP_US
    assert step_us(Quota(interval_us=60_000_000)) == 60_000_000


@pytest.mark.parametrize(
    ("goal", "current", "found"),
    [
        (RSS, 128 * MIB, 5_000),  # twice what it should be: act more
        (RSS, 32 * MIB, 20_000),
        (PSI, 50, 5_000),
        (PSI, 200, 20_000),
        (Goal(GoalMetric.FREE_MEMORY, 2_000), 1_000, 5_000),
        (Goal(GoalMetric.REFAULT_RATE, 20), 40, 20_000),
        (RSS, 0, 64 * MIB * 10_000),
        (RSS, None, None),
        (Goal(GoalMetric.REFAULT_RATE, 0), 5, None),
    ],
)
def test_scores(goal: Goal, current: int | None, found: int | None) -> None:
    assert score(goal, current) == found


def test_no_more_goes_in_a_step_than_is_missing() -> None:
    quota = Quota(size=64 * MIB)
    assert room({RSS: 114 * MIB}, quota) == 10 * MIB  # 50 MiB in five seconds
    assert room({RSS: 60 * MIB}, quota) == 0
    assert room({RSS: None}, quota) is None
    assert room({PSI: 5}, quota) is None
    current = Goal(GoalMetric.MEMORY_CURRENT, 100 * MIB)
    assert room({RSS: 114 * MIB, current: 105 * MIB, PSI: 3}, quota) == MIB


def test_where_nothing_comes_of_it_more_is_allowed_and_less_again_when_it_does() -> None:
    assert allowed(64 * MIB, MIB, 1) == MIB
    assert allowed(64 * MIB, MIB, 16) == 16 * MIB
    assert allowed(2 * MIB, MIB, 16) == 2 * MIB
    assert allowed(64 * MIB, None, 16) == 64 * MIB
    assert allowed(64 * MIB, 0, 16) == 4096
    push, missing = 1, 8 * MIB
    for _ in range(10):
        push = pushed(push, missing, missing)
    assert push == 64
    assert pushed(push, missing, missing // 2) == 1
    assert pushed(push, missing, missing - missing // 16) == 64
    assert pushed(push, missing, 0) == 1
    assert pushed(push, None, missing) == 1


def test_little_moves_are_not_worth_a_commit() -> None:
    assert not moved({0: 800}, {0: 900})
    assert moved({0: 800}, {0: 901})
    assert moved({0: 800}, {0: 699})
    assert moved({}, {0: 5})
