"""Sense of a quota and its goals. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from damos_agent.algo.goals import UNMEASURED
from damos_agent.config.document import Loc
from damos_agent.config.issue import Issue
from damos_agent.model.policy import (
    CgroupTarget,
    ContainerTarget,
    Goal,
    GoalMetric,
    PhysicalTarget,
    Quota,
    Target,
    Tuner,
    UnitTarget,
)
from damos_agent.model.units import ULONG_MAX, format_duration, format_size

_NODE: Final = frozenset(
    {
        GoalMetric.NODE_MEM_USED,
        GoalMetric.NODE_MEM_FREE,
        GoalMetric.NODE_MEMCG_USED,
        GoalMetric.NODE_MEMCG_FREE,
        GoalMetric.NODE_ELIGIBLE_MEM,
    }
)
_MEMCG: Final = frozenset({GoalMetric.NODE_MEMCG_USED, GoalMetric.NODE_MEMCG_FREE})
_OF_GROUPS: Final = frozenset(
    {
        GoalMetric.MEMORY_PSI_SOME,
        GoalMetric.MEMORY_PSI_FULL,
        GoalMetric.IO_PSI_SOME,
        GoalMetric.IO_PSI_FULL,
        GoalMetric.MEMORY_CURRENT,
        GoalMetric.REFAULT_RATE,
        GoalMetric.SWAP_IN_RATE,
        GoalMetric.MAJOR_FAULT_RATE,
    }
)
"""These may name one."""
_PAGE: Final = 4096
_SECOND_US: Final = 1_000_000
_LONGEST_WINDOW_US: Final = (2**31 - 1) * 1_000
"""mm/damon/core.c: msecs_to_jiffies(reset_interval) takes 32 bits, half mean for ever."""


def check_quota(quota: Quota, at: Loc, target: Target) -> Iterator[Issue]:
    """Limits, priorities and goals of one scheme's quota."""
    capped = quota.time_us or quota.size
    if not capped and quota.goals:
        message = "the goal has no cap: the quota could grow without bound"
        yield Issue("DA049", (*at, "goals"), message, "add size: 1GiB, for example", key=True)
    elif not capped:
        message = "the quota has neither time nor size"
        yield Issue("DA051", at, message, "add size: 100MiB, for example", key=True)
    if quota.size and quota.size < _PAGE:
        message = f"size {format_size(quota.size)} is less than a page"
        yield Issue("DA063", (*at, "size"), message, "write 4KiB or more")
    yield from _check_times(quota, at)
    weights = quota.weights
    if not (weights.access_rate or weights.age):
        message = "access_rate and age weigh nothing: memory is worked on in address order"
        yield Issue("DA053", (*at, "weights"), message, "write age: 1")
    if quota.tuner is Tuner.TEMPORAL:
        message = "temporal needs a goal" if not quota.goals else "temporal needs Linux 7.2.9"
        yield Issue("DA055", (*at, "tuner"), message, "use consist" if quota.goals else "add one")
    for index, goal in enumerate(quota.goals):
        yield from _check_goal(goal, quota, (*at, "goals", index), target)


def _check_times(quota: Quota, at: Loc) -> Iterator[Issue]:
    if quota.time_us % 1000:
        message = f"time {format_duration(quota.time_us)} is not whole milliseconds"
        yield Issue("DA050", (*at, "time"), message, "round it up")
    if quota.interval_us == 0 or quota.interval_us % 1000:
        message = f"interval {format_duration(quota.interval_us)} is not whole milliseconds"
        message = "interval is zero" if quota.interval_us == 0 else message
        yield Issue("DA054", (*at, "interval"), message, "write 1s")
    elif quota.interval_us > _LONGEST_WINDOW_US:
        message = f"interval {format_duration(quota.interval_us)} does not fit the kernel's 31 "
        message += "bits of milliseconds: the quota would be renewed never, or too early"
        yield Issue("DA027", (*at, "interval"), message, "24d at most")
    elif quota.time_us >= quota.interval_us:
        message = f"time {format_duration(quota.time_us)} is all of interval "
        message += format_duration(quota.interval_us)
        yield Issue("DA052", (*at, "time"), message, "shorten time")


def _check_goal(goal: Goal, quota: Quota, at: Loc, target: Target) -> Iterator[Issue]:
    name = goal.metric.value
    if goal.target == 0:
        yield Issue("DA059", at, f"the target of {name} is zero", "give a target")
    elif goal.metric is GoalMetric.MEMORY_PSI_SOME:
        yield from _check_psi(goal, quota, at)
    if goal.target > ULONG_MAX:
        yield Issue("DA027", at, f"the target of {name} does not fit 64 bits")
    yield from _check_arguments(goal, at)
    physical = isinstance(target, PhysicalTarget)
    if goal.metric in (GoalMetric.RSS, GoalMetric.PSS) and physical:
        message = f"{name} is of processes, and a physical target has none"
        yield Issue("DA061", at, message, "use free_memory, or target processes")
    grouped = isinstance(target, (CgroupTarget, UnitTarget, ContainerTarget))
    if goal.metric is GoalMetric.MEMORY_CURRENT and goal.cgroup is None and not grouped:
        message = f"{name} is of a control group, and this target is none"
        yield Issue("DA060", at, message, "write {target: 1GiB, cgroup: /path}")
    if goal.metric is GoalMetric.NODE_ELIGIBLE_MEM and not physical:
        yield Issue("DA061", at, f"{name} needs a physical target")
    if goal.metric is GoalMetric.USER_INPUT and goal.current is None and goal.source is None:
        message = "user_input has no current value, and none from outside"
        yield Issue("DA057", at, message, "add current: 0, or feed: NAME")
    if goal.metric in UNMEASURED:
        message = f"nobody measures {name} yet; the policy will be reported unsupported"
        yield Issue("DA058", at, message, "use rss or memory_current")


def _check_psi(goal: Goal, quota: Quota, at: Loc) -> Iterator[Issue]:
    if goal.target * quota.interval_us // 10_000 == 0:
        message = "the target is below 1 us of stall per quota interval, which the kernel skips"
        yield Issue("DA059", at, message, "lengthen quota.interval")
    elif quota.interval_us < _SECOND_US:
        message = "pressure is measured once per quota interval of "
        message += format_duration(quota.interval_us)
        yield Issue("DA056", at, message, "lengthen quota.interval to 1s or more")


def _check_arguments(goal: Goal, at: Loc) -> Iterator[Issue]:
    rules = (
        ("node", goal.nid is not None, goal.metric in _NODE),
        ("cgroup", goal.cgroup is not None, goal.metric in _MEMCG),
    )
    for argument, given, needed in rules:
        if needed and not given:
            yield Issue("DA060", at, f"{goal.metric} needs {argument}", f"add {argument}:")
        if given and not needed and not (argument == "cgroup" and goal.metric in _OF_GROUPS):
            message = f"{goal.metric} takes no {argument}"
            yield Issue("DA060", (*at, argument), message, "remove it", key=True)
    if goal.current is not None and goal.metric is not GoalMetric.USER_INPUT:
        message = f"{goal.metric} takes no current: it is measured"
        yield Issue("DA060", (*at, "current"), message, "remove it", key=True)
