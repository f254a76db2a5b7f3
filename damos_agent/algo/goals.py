"""Which goals the kernel tunes a quota to, and which the agent does, and why. Pure.

The kernel's tuner is used where it measures the same thing, and does it well on that kernel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from damos_agent.algo.feedback import MET_BP
from damos_agent.algo.steer import Bounds
from damos_agent.model.feature import Feature, Features, Source
from damos_agent.model.policy import (
    KERNEL_METRICS,
    METRIC_UNITS,
    Goal,
    GoalMetric,
    MetricUnit,
    Mode,
    Policy,
    Quota,
    Scheme,
    Tuner,
)

GOAL_FEATURES: Final = {
    GoalMetric.USER_INPUT: Feature.GOALS,
    GoalMetric.MEMORY_PSI_SOME: Feature.PSI_GOAL,
    GoalMetric.NODE_MEM_USED: Feature.NODE_MEM_GOALS,
    GoalMetric.NODE_MEM_FREE: Feature.NODE_MEM_GOALS,
    GoalMetric.NODE_MEMCG_USED: Feature.MEMCG_GOALS,
    GoalMetric.NODE_MEMCG_FREE: Feature.MEMCG_GOALS,
    GoalMetric.ACTIVE_MEM: Feature.LRU_GOALS,
    GoalMetric.INACTIVE_MEM: Feature.LRU_GOALS,
    GoalMetric.NODE_ELIGIBLE_MEM: Feature.NODE_ELIGIBLE_GOAL,
}
UNMEASURED: Final = frozenset({GoalMetric.WORKING_SET})
"""Nobody measures these yet."""
STEP_US: Final = 5_000_000
_PSI_FIXED: Final = (7, 3, 4)
_RELEASE: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_RATES: Final = frozenset(
    {GoalMetric.REFAULT_RATE, GoalMetric.SWAP_IN_RATE, GoalMetric.MAJOR_FAULT_RATE}
)
_PRESSURES: Final = frozenset(
    {
        GoalMetric.MEMORY_PSI_SOME,
        GoalMetric.MEMORY_PSI_FULL,
        GoalMetric.IO_PSI_SOME,
        GoalMetric.IO_PSI_FULL,
    }
)
_MIB: Final = 1 << 20
_UNCAPPED: Final = 1024 * _MIB
"""A second, where the policy names no size."""
_SEED_PART: Final = 64
_MOST_PUSH: Final = 64
LEAST_BYTES: Final = 4096
_SECOND_US: Final = 1_000_000


def why_agent(goal: Goal, features: Features) -> str:
    """Why the agent steers by that goal and not the kernel; empty: the kernel does."""
    if goal.metric in UNMEASURED:
        return ""
    if goal.source is not None:
        return "the number comes from outside"
    if goal.metric not in KERNEL_METRICS:
        return "the kernel does not measure it"
    if goal.metric in _PRESSURES and goal.cgroup is not None:
        return "the kernel knows the machine's pressure only, not a control group's"
    if features.source is Source.ABSENT:
        return ""  # the monitor process measures what the kernel would
    if goal.metric is GoalMetric.NODE_ELIGIBLE_MEM:
        return ""
    if GOAL_FEATURES[goal.metric] not in features:
        return f"kernel {features.release} does not measure it"
    if goal.metric is GoalMetric.MEMORY_PSI_SOME and _release(features) < _PSI_FIXED:
        return f"kernel {features.release} takes all pressure since boot for that of one window"
    return ""


def split(scheme: Scheme, features: Features) -> tuple[tuple[Goal, ...], tuple[Goal, ...]]:
    """The kernel's goals, and the agent's."""
    goals = scheme.quota.goals if scheme.quota else ()
    agents = tuple(goal for goal in goals if why_agent(goal, features))
    return tuple(goal for goal in goals if goal not in agents), agents


def is_steered(policy: Policy, features: Features) -> bool:
    """Whether the agent steers any scheme of it."""
    return policy.mode is Mode.ENFORCE and any(split(s, features)[1] for s in policy.schemes)


def lift(policy: Policy, features: Features) -> Policy:
    """The policy without the agent's goals: in their place is the quota to begin with."""
    if not is_steered(policy, features):
        return policy
    return replace(policy, schemes=tuple(_lifted(one, features) for one in policy.schemes))


def _lifted(scheme: Scheme, features: Features) -> Scheme:
    kernels, agents = split(scheme, features)
    if scheme.quota is None or not agents:
        return scheme
    seed = bounds_of(scheme.quota, agents).seed
    quota = replace(scheme.quota, size=seed, goals=kernels)
    # Without a goal the kernel has no use for a tuner.
    return replace(scheme, quota=quota if kernels else replace(quota, tuner=Tuner.CONSIST))


def bounds_of(quota: Quota, goals: tuple[Goal, ...]) -> Bounds:
    """In bytes per quota interval; `lag` in steps of the agent."""
    cap = quota.size or _UNCAPPED * quota.interval_us // _SECOND_US
    floor = min(LEAST_BYTES, cap)
    return Bounds(floor, cap, max(cap // _SEED_PART, floor), max(map(_lag, goals), default=0))


def _lag(goal: Goal) -> int:
    """Steps until it shows: what is taken is needed again later, sizes are there at once."""
    if goal.metric in _RATES or goal.source is not None:
        return 3
    return 1 if goal.metric in _PRESSURES else 0


def step_us(quota: Quota) -> int:
    """Time between two steps: whole quota intervals."""
    return max(quota.interval_us, STEP_US)


def score(goal: Goal, current: int | None) -> int | None:
    """How far a goal is met, in basis points: more asks for less to be done.

    Of a size that is to come down, the target over what it is.
    """
    if current is None or goal.target <= 0:
        return None
    if METRIC_UNITS.get(goal.metric, MetricUnit.SHARE) is MetricUnit.SIZE:
        return goal.target * MET_BP // max(current, 1)
    return current * MET_BP // goal.target


def room(goals: Mapping[Goal, int | None], quota: Quota) -> int | None:
    """Bytes a quota interval that bring the nearest size to its target within one step.

    None where no goal is a size: how far away it is in bytes then is not known. Without this, a
    quota that has grown on the way would overshoot within the step in which the goal is met.
    """
    left = [
        max(current - goal.target, 0)
        for goal, current in goals.items()
        if current is not None and METRIC_UNITS.get(goal.metric) is MetricUnit.SIZE
    ]
    if not left:
        return None
    return min(left) * quota.interval_us // step_us(quota)


def allowed(quota: int, left: int | None, push: int) -> int:
    """Bytes a quota interval, of what steering found: no more than there is to go, `push` times.

    Older kernels (seen on 6.12) page out what is out already, and call that applied: a quota just
    large enough for what is missing is then spent on nothing, again and again.
    """
    return quota if left is None else min(quota, max(left * push, LEAST_BYTES))


def pushed(push: int, before: int | None, left: int | None) -> int:
    """Harder, by doubling, while there is no progress; as at first again when there is, so that it
    does not overshoot.

    `before`: what was missing at the last step.
    """
    if left and before and left > before - before // 8:
        return min(push * 2, _MOST_PUSH)
    return 1


def moved(before: Mapping[int, int], after: Mapping[int, int]) -> bool:
    """Whether quotas by scheme moved by an eighth: less is not worth a commit."""
    if before.keys() != after.keys():
        return True
    return any(abs(after[i] - before[i]) * 8 > before[i] for i in after)


def _release(features: Features) -> tuple[int, int, int]:
    match = _RELEASE.match(features.release)
    if match is None:
        return (0, 0, 0)
    major, minor = int(match[1]), int(match[2])
    # A mainline profile, such as 7.3, stands for its latest release.
    return major, minor, 999 if match[3] is None else int(match[3])
