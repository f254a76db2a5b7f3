"""Sense of one scheme: pattern, action against target, destinations, watermarks. Pure.

What the kernel would accept and silently not do is an error here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from damos_agent.algo.overlay import resolved
from damos_agent.config.check_filter import check_filters
from damos_agent.config.check_monitoring import check_sleep
from damos_agent.config.check_quota import check_quota
from damos_agent.config.document import Loc
from damos_agent.config.issue import Issue
from damos_agent.model.policy import (
    Action,
    BackendChoice,
    Monitoring,
    Pattern,
    PhysicalTarget,
    Policy,
    Scheme,
    Watermarks,
)
from damos_agent.model.units import U32_MAX, format_duration, format_share, format_size

COLD_ACTIONS: Final = frozenset(
    {Action.PAGEOUT, Action.COLD, Action.LRU_DEPRIO, Action.MIGRATE_COLD}
)
"""Actions that hurt memory in use."""
HOT_ACTIONS: Final = frozenset(
    {Action.HUGEPAGE, Action.COLLAPSE, Action.LRU_PRIO, Action.MIGRATE_HOT, Action.WILLNEED}
)
"""Actions that are wasted on idle memory."""
_CHEAP: Final = frozenset({Action.STAT, Action.HUGEPAGE, Action.NOHUGEPAGE})
_PROCESS_ONLY: Final = frozenset(
    {Action.WILLNEED, Action.COLD, Action.HUGEPAGE, Action.NOHUGEPAGE, Action.COLLAPSE}
)
_PHYSICAL_ONLY: Final = frozenset({Action.LRU_PRIO, Action.LRU_DEPRIO})
_MIGRATE: Final = frozenset({Action.MIGRATE_HOT, Action.MIGRATE_COLD})
_LEAST_REGION: Final = 4096
_LIKELY_AGE_US: Final = 120_000_000
_REGIONS_FOR_AUTO: Final = 100


def check_scheme(policy: Policy, index: int) -> Iterator[Issue]:
    """Everything about scheme `index` of `policy`."""
    scheme = policy.schemes[index]
    if scheme.pattern.auto_age:
        yield from _check_auto_age(policy, scheme, ("spec", "schemes", index))
        # The rest is judged as with an age that may well be found out.
        scheme = replace(scheme, pattern=resolved(scheme.pattern, _LIKELY_AGE_US))
    at: Loc = ("spec", "schemes", index)
    physical = isinstance(policy.target, PhysicalTarget)
    yield from _check_action(scheme, at, physical)
    yield from _check_pattern(scheme.pattern, policy.monitoring, (*at, "pattern"))
    yield from _check_reach(scheme, at)
    if scheme.quota is not None:
        yield from check_quota(scheme.quota, (*at, "quota"), policy.target)
    elif scheme.action not in _CHEAP:
        message = f"{scheme.action} has no quota: nothing limits it"
        yield Issue("DA048", (*at, "action"), message, "add quota: {size: ..., interval: 1s}")
    damon = policy.backend is not BackendChoice.USERSPACE
    yield from check_filters(scheme, policy.target, (*at, "filters"), damon=damon)
    if scheme.watermarks is not None:
        yield from _check_watermarks(scheme.watermarks, (*at, "watermarks"))
    yield from _check_destinations(scheme, at, physical)
    yield from _check_apply_interval(scheme, policy.monitoring, at)


def _check_action(scheme: Scheme, at: Loc, physical: bool) -> Iterator[Issue]:
    if physical and scheme.action in _PROCESS_ONLY:
        message = f"{scheme.action} cannot be done on physical memory"
        yield Issue("DA090", (*at, "action"), message, "use a process, cgroup or unit target")
    if not physical and scheme.action in _PHYSICAL_ONLY:
        message = f"{scheme.action} cannot be done on the memory of processes"
        yield Issue("DA090", (*at, "action"), message, "use target: {physical: {}}")


def nr_accesses_range(pattern: Pattern, monitoring: Monitoring) -> tuple[int, int | None]:
    """The access rates as counts of samples: from, to. Rounded into the range."""
    samples = max(1, monitoring.aggr_us // max(1, monitoring.sample_us))
    least = -(-pattern.access_min_bp * samples // 10_000)
    if pattern.access_max_bp is None:
        return least, None
    return least, pattern.access_max_bp * samples // 10_000


def age_range(pattern: Pattern, monitoring: Monitoring) -> tuple[int, int | None]:
    """The ages as numbers of aggregations: from, to. Rounded into the range."""
    aggr = max(1, monitoring.aggr_us)
    least = -(-pattern.age_min_us // aggr)
    return least, None if pattern.age_max_us is None else pattern.age_max_us // aggr


def _check_auto_age(policy: Policy, scheme: Scheme, at: Loc) -> Iterator[Issue]:
    """Only what idle memory does when it is needed again is known how to find out."""
    if scheme.action is not Action.PAGEOUT:
        message = f"age: auto is for pageout, not for {scheme.action}"
        yield Issue("DA072", (*at, "pattern", "age"), message, "give min and max")
    elif scheme.pattern.access_max_bp != 0:
        message = "age: auto is for memory without accesses"
        hint = "write access_rate: {max: 0%}"
        yield Issue("DA072", (*at, "pattern", "age"), message, hint)
    elif any(one.watermarks for one in policy.schemes):
        message = "age: auto has to see all regions, which watermarks prevent"
        yield Issue("DA072", (*at, "pattern", "age"), message, "remove watermarks, or give an age")
    elif policy.monitoring.min_regions < _REGIONS_FOR_AUTO:
        message = f"with min_regions {policy.monitoring.min_regions} age: auto may find no age"
        hint = "write monitoring: {min_regions: 500}, 100 at least"
        yield Issue("DA073", (*at, "pattern", "age"), message, hint)


def _check_pattern(pattern: Pattern, monitoring: Monitoring, at: Loc) -> Iterator[Issue]:
    bounds = (
        ("size", pattern.size_min, pattern.size_max, format_size),
        ("access_rate", pattern.access_min_bp, pattern.access_max_bp, format_share),
        ("age", pattern.age_min_us, pattern.age_max_us, format_duration),
    )
    swapped = False
    for name, least, most, form in bounds:
        if most is not None and least > most:
            swapped = True
            message = f"{name}: min {form(least)} is greater than max {form(most)}"
            yield Issue("DA040", (*at, name, "min"), message, "swap the two?")
    if not swapped:
        yield from _check_matches(pattern, monitoring, at)


def _check_matches(pattern: Pattern, monitoring: Monitoring, at: Loc) -> Iterator[Issue]:
    if pattern.size_max is not None and pattern.size_max < _LEAST_REGION:
        message = f"no region is as small as {format_size(pattern.size_max)}"
        yield Issue("DA046", (*at, "size", "max"), message, "regions are 4KiB or larger")
    least, most = nr_accesses_range(pattern, monitoring)
    if most is not None and least > most:
        samples = max(1, monitoring.aggr_us // max(1, monitoring.sample_us))
        message = f"with {samples} samples per aggregation no access rate lies in this range"
        hint = f"the rates that exist are steps of {100 / samples:.3g}%"
        yield Issue("DA046", (*at, "access_rate"), message, hint)
    least, most = age_range(pattern, monitoring)
    if least > U32_MAX:
        message = f"an age of {least} aggregations does not fit the kernel's 32 bits"
        yield Issue("DA027", (*at, "age", "min"), message, "shorten it")
    if most is not None and least > most:
        message = "no age lies in this range: ages are whole aggregation intervals of "
        message += format_duration(monitoring.aggr_us)
        yield Issue("DA046", (*at, "age"), message, "widen it")


def _check_reach(scheme: Scheme, at: Loc) -> Iterator[Issue]:
    pattern, action = scheme.pattern, scheme.action
    any_rate = pattern.access_max_bp is None or pattern.access_max_bp >= 10_000
    any_age = pattern.age_min_us == 0
    if action in COLD_ACTIONS:
        sized = pattern.size_min > _LEAST_REGION or pattern.size_max is not None
        if any_rate and any_age and not sized and pattern.access_min_bp == 0:
            message = f"{action} on a pattern that matches all memory"
            hint = "bound it: access_rate: {max: 0%} and age: {min: 2m}"
            yield Issue("DA047", (*at, "pattern"), message, hint)
        elif any_rate:
            message = f"{action} has no upper bound on access_rate: it would hit memory in use"
            yield Issue("DA065", (*at, "pattern"), message, "add access_rate: {max: 0%}")
        elif any_age:
            message = f"{action} has no lower bound on age: it would hit memory used just now"
            yield Issue("DA065", (*at, "pattern"), message, "add age: {min: 2m}")
    if action in HOT_ACTIONS and pattern.access_min_bp == 0:
        message = f"{action} has no lower bound on access_rate: it would also take idle memory"
        yield Issue("DA066", (*at, "pattern"), message, "add access_rate: {min: 5%}")


def _check_watermarks(marks: Watermarks, at: Loc) -> Iterator[Issue]:
    if marks.interval_us == 0:
        message = "the watermark interval is zero: an inactive scheme would never wake up"
        yield Issue("DA044", (*at, "interval"), message, "write 5s")
    yield from check_sleep(marks.interval_us, (*at, "interval"))
    if not marks.high_permil >= marks.mid_permil >= marks.low_permil:
        order = [format_share(10 * x) for x in (marks.high_permil, marks.mid_permil)]
        message = f"high {order[0]}, mid {order[1]}, low {format_share(10 * marks.low_permil)}"
        where = "high" if marks.high_permil < marks.mid_permil else "mid"
        yield Issue("DA070", (*at, where), f"not in order: {message}", "high >= mid >= low")


def _check_destinations(scheme: Scheme, at: Loc, physical: bool) -> Iterator[Issue]:
    nodes = scheme.destinations
    where = (*at, "destinations")
    if scheme.action in _MIGRATE and not nodes:
        message = f"{scheme.action} has no destination"
        yield Issue("DA080", (*at, "action"), message, "add destinations: [{node: 1}]")
    if scheme.action not in _MIGRATE and nodes:
        message = f"{scheme.action} uses no destinations"
        yield Issue("DA081", where, message, "remove them", key=True)
        return
    ids = [item.nid for item in nodes]
    for index, nid in enumerate(ids):
        if nid in ids[:index]:
            yield Issue("DA082", (*where, index, "node"), f"node {nid} is listed twice")
    if nodes and not any(item.weight for item in nodes):
        yield Issue("DA082", where, "all weights are zero", "give one a weight", key=True)
    if physical and len(nodes) > 1:
        message = "the kernel migrates physical memory to one node only"
        yield Issue("DA082", where, message, "keep one", key=True)


def _check_apply_interval(scheme: Scheme, monitoring: Monitoring, at: Loc) -> Iterator[Issue]:
    interval = scheme.apply_interval_us
    if interval == 0:
        message = "apply_interval is zero"
        yield Issue("DA044", (*at, "apply_interval"), message, "leave it out for the default")
    elif interval is not None and interval < monitoring.sample_us:
        message = f"apply_interval {format_duration(interval)} is shorter than "
        message += f"sampling_interval {format_duration(monitoring.sample_us)}"
        yield Issue("DA064", (*at, "apply_interval"), message)
    elif interval is not None:
        yield from _check_starvation(interval, monitoring, at)


def _check_starvation(interval_us: int, monitoring: Monitoring, at: Loc) -> Iterator[Issue]:
    """kdamond_tune_intervals() ends in damon_set_attrs(), which puts off every scheme."""
    goal = monitoring.intervals_goal
    if goal is None or not monitoring.sample_us:
        return
    samples = max(monitoring.aggr_us // monitoring.sample_us, 1)
    shortest_us = goal.aggrs * goal.min_sample_us * samples
    if goal.aggrs and interval_us > shortest_us:
        message = f"apply_interval {format_duration(interval_us)} may never end: tuning of the "
        message += f"intervals, as often as every {format_duration(shortest_us)}, starts it anew"
        yield Issue("DA067", (*at, "apply_interval"), message, "leave it out")
