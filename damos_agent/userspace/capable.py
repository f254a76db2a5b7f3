"""Which policies user space can serve, told from the policy alone. Pure, and light to import."""

from __future__ import annotations

from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import (
    Action,
    Filter,
    FilterType,
    Goal,
    GoalMetric,
    PhysicalTarget,
    Policy,
    Scheme,
)

_LRU = (
    "no system call sorts another process's pages into the active or inactive list; "
    "use a kernel with DAMON, or the action {} to a similar end"
)
WITHOUT_COUNTERPART = {
    Action.NOHUGEPAGE: (
        "MADV_NOHUGEPAGE works only inside the process itself; start it with "
        "prctl(PR_SET_THP_DISABLE), or use a kernel with DAMON"
    ),
    Action.LRU_PRIO: _LRU.format("willneed"),
    Action.LRU_DEPRIO: _LRU.format("cold"),
}
"""Actions user space cannot do, with the reason and what to do instead."""

FILTERS = frozenset({FilterType.ADDR, FilterType.TARGET, FilterType.ANON, FilterType.MEMCG})
"""Filters user space can tell."""

GOALS = frozenset(
    {
        GoalMetric.USER_INPUT,
        GoalMetric.MEMORY_PSI_SOME,
        GoalMetric.NODE_MEM_USED,
        GoalMetric.NODE_MEM_FREE,
        GoalMetric.NODE_MEMCG_USED,
        GoalMetric.NODE_MEMCG_FREE,
        GoalMetric.ACTIVE_MEM,
        GoalMetric.INACTIVE_MEM,
    }
)
"""Goal metrics the monitor process measures: the kernel's."""


def check_policy(policy: Policy) -> None:
    """Raise `UnsupportedError` for what the user-space backend cannot do anywhere."""
    if isinstance(policy.target, PhysicalTarget):
        raise UnsupportedError(
            "physical memory cannot be monitored from user space",
            hint="name processes, a cgroup, a unit or a container instead",
        )
    for scheme in policy.schemes:
        check_scheme(scheme)


def check_scheme(scheme: Scheme) -> None:
    """Raises as `check_policy`."""
    if reason := WITHOUT_COUNTERPART.get(scheme.action, ""):
        raise UnsupportedError(
            f"action '{scheme.action}' has no counterpart in user space",
            hint=reason,
        )
    for item in scheme.filters:
        _check_filter(item)
    for goal in scheme.quota.goals if scheme.quota else ():
        _check_goal(goal)


def _check_filter(item: Filter) -> None:
    if item.type not in FILTERS:
        raise UnsupportedError(
            f"filter '{item.type}' cannot be told from user space",
            hint="use " + ", ".join(sorted(FILTERS)),
        )


def _check_goal(goal: Goal) -> None:
    if goal.metric not in GOALS:
        raise UnsupportedError(
            f"goal '{goal.metric}' is not measured by this version of the agent yet",
            hint="use one of " + ", ".join(sorted(GOALS)),
        )
