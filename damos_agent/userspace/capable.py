"""Which policies user space can serve, told from the policy alone. Pure, and light to import."""

from __future__ import annotations

from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import (
    Action,
    CgroupTarget,
    ContainerTarget,
    Filter,
    FilterType,
    Goal,
    GoalMetric,
    Pattern,
    PhysicalTarget,
    Policy,
    ProbeChoice,
    Scheme,
    UnitTarget,
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

_PAGE_BYTES = 4096
FILTERS = frozenset(
    {FilterType.ADDR, FilterType.TARGET, FilterType.ANON, FilterType.MEMCG, FilterType.YOUNG}
)
"""Filters user space can tell."""

PAGE_FILTERS = frozenset({FilterType.YOUNG})
"""Those of them that take a probe which tells single pages apart."""

_MAY_TELL_PAGES = frozenset({ProbeChoice.AUTO, ProbeChoice.PAGE_IDLE, ProbeChoice.PTE})

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
    probe = policy.monitoring.userspace.probe
    if probe is ProbeChoice.MEMCG:
        check_group(policy)
    if probe is ProbeChoice.WRITES:
        check_writes(policy)
    if not may_tell_pages(probe):
        check_pages(policy, probe)


def check_writes(policy: Policy) -> None:
    """Raise `UnsupportedError` for what takes more than knowing what was written."""
    for scheme in policy.schemes:
        check_writes_scheme(scheme)


def check_writes_scheme(scheme: Scheme) -> None:
    """Raises as `check_writes`; also where it would only be told what would be done."""
    if scheme.action is not Action.STAT:
        raise UnsupportedError(
            f"action '{scheme.action}' takes a probe that sees all accesses: memory which probe "
            "writes calls idle may be read all the time",
            hint="use action stat, or another probe",
        )


def may_tell_pages(probe: ProbeChoice) -> bool:
    """Whether it tells single pages apart, or on some machine chooses a probe that does."""
    return probe in _MAY_TELL_PAGES


def check_pages(policy: Policy, probe: str) -> None:
    """Raise `UnsupportedError` for what `probe` cannot do, as it tells no single pages apart."""
    for scheme in policy.schemes:
        for item in scheme.filters:
            check_page_filter(item, probe)


def check_page_filter(item: Filter, probe: str) -> None:
    """Raises as `check_pages`."""
    if item.type in PAGE_FILTERS:
        raise UnsupportedError(
            f"filter '{item.type}' is about single pages, which probe {probe} does not tell apart",
            hint=(
                "leave the filter out, or use probe page_idle (kernels with "
                "CONFIG_IDLE_PAGE_TRACKING) or pte (experimental, only if the policy names it)"
            ),
        )


def is_group(policy: Policy) -> bool:
    """Whether the target is a cgroup, by whichever name."""
    return group_target(policy) is not None


def group_target(policy: Policy) -> CgroupTarget | UnitTarget | ContainerTarget | None:
    """The target if it is a cgroup, by whichever name."""
    if isinstance(policy.target, (CgroupTarget, UnitTarget, ContainerTarget)):
        return policy.target
    return None


def check_group(policy: Policy) -> CgroupTarget | UnitTarget | ContainerTarget:
    """Raise `UnsupportedError` for what cannot be done where a cgroup's memory has no addresses.

    Else the target.
    """
    target = group_target(policy)
    if target is None:
        raise UnsupportedError(
            "probe memcg sees whole cgroups, and this policy's target is none",
            hint="target a cgroup, a systemd_unit or a container, or use another probe",
        )
    for scheme in policy.schemes:
        check_group_scheme(scheme)
    return target


def check_group_scheme(scheme: Scheme) -> None:
    """Raises as `check_group`."""
    if scheme.action not in (Action.PAGEOUT, Action.STAT):
        raise _without_addresses(f"action '{scheme.action}' takes", "use pageout or stat")
    for item in scheme.filters:
        if item.type is not FilterType.ANON:
            raise _without_addresses(f"filter '{item.type}' takes", "only anon can be told")
    _check_group_pattern(scheme.action, scheme.pattern)


def _check_group_pattern(action: Action, pattern: Pattern) -> None:
    if pattern.size_min > _PAGE_BYTES or pattern.size_max is not None:
        raise _without_addresses("a pattern with a size takes", "leave size out")
    anything = (pattern.access_min_bp, pattern.access_max_bp, pattern.age_min_us) == (0, None, 0)
    if action is Action.STAT and anything and pattern.age_max_us is None:
        return
    if pattern.access_min_bp or pattern.access_max_bp != 0:
        raise UnsupportedError(
            "access rates are not known of a cgroup as a whole, only for how long memory is idle",
            hint="write access_rate: {max: 0%} and an age, or use another probe",
        )
    if pattern.age_max_us is not None:
        raise UnsupportedError(
            "of a cgroup's memory, what is idle for longer goes first: age.max cannot spare it",
            hint="leave age.max out",
        )


def _without_addresses(what: str, hint: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what} addresses, which probe memcg does not have",
        hint=f"{hint}, or use a probe that tells pages or mappings apart",
    )


def check_scheme(scheme: Scheme) -> None:
    """Raises as `check_policy`."""
    if reason := WITHOUT_COUNTERPART.get(scheme.action, ""):
        raise UnsupportedError(
            f"action '{scheme.action}' has no counterpart in user space",
            hint=reason,
        )
    for item in scheme.filters:
        _check_filter(item, scheme.action)
    for goal in scheme.quota.goals if scheme.quota else ():
        _check_goal(goal)


def _check_filter(item: Filter, action: Action) -> None:
    if item.type not in FILTERS:
        raise UnsupportedError(
            f"filter '{item.type}' cannot be told from user space",
            hint="use " + ", ".join(sorted(FILTERS)),
        )
    if item.type in PAGE_FILTERS and action is Action.WILLNEED:
        raise UnsupportedError(
            f"filter '{item.type}' is about pages in memory, and {action} brings in those that "
            "are not",
            hint="leave the filter out",
        )


def _check_goal(goal: Goal) -> None:
    if goal.metric not in GOALS:
        raise UnsupportedError(
            f"goal '{goal.metric}' cannot be measured by this version of the agent yet",
            hint="use one of " + ", ".join(sorted(GOALS)),
        )
