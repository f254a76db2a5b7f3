"""A policy back into the words of the policy language: every value spelled out, defaults too.

Law: compiling what `document_of` gives yields the same policy (but for its origin).
"""

from __future__ import annotations

from typing import Any, assert_never

from damos_agent.model.policy import (
    METRIC_UNITS,
    AddressRange,
    CgroupTarget,
    ContainerTarget,
    External,
    Filter,
    FilterType,
    Goal,
    GoalMetric,
    Limits,
    MetricUnit,
    Monitoring,
    Pattern,
    PhysicalTarget,
    PidTarget,
    Policy,
    ProcessTarget,
    Quota,
    Scheme,
    Target,
    UnitTarget,
)
from damos_agent.model.units import MAX, format_duration, format_share, format_size

Document = dict[str, Any]


def document_of(policy: Policy) -> Document:
    """The whole document, as plain data in the order people write it."""
    metadata: Document = {"name": policy.name}
    if policy.labels:
        metadata["labels"] = policy.labels
    if policy.annotations:
        metadata["annotations"] = policy.annotations
    spec = {
        "mode": policy.mode.value,
        "backend": policy.backend.value,
        "target": _target(policy.target),
        "monitoring": _monitoring(policy.monitoring),
        "guard": _guard(policy.guard),
        "schemes": [_scheme(scheme) for scheme in policy.schemes],
    }
    return {"apiVersion": "damos-agent/v1", "kind": "Policy", "metadata": metadata, "spec": spec}


def _target(target: Target) -> Document:
    match target:
        case PidTarget(pids=(pid,)):
            return {"pid": pid}
        case PidTarget():
            return {"pids": list(target.pids)}
        case ProcessTarget():
            given = {"exe": target.exe, "cmdline": target.cmdline, "user": target.user}
            return {"process": {key: value for key, value in given.items() if value is not None}}
        case CgroupTarget():
            return {"cgroup": {"path": target.path, "descendants": target.descendants}}
        case UnitTarget():
            return {"systemd_unit": target.unit}
        case ContainerTarget():
            return {"container": target.id_prefix}
        case PhysicalTarget():
            return {"physical": _physical(target)}
    assert_never(target)


def _physical(target: PhysicalTarget) -> Document:
    if target.numa_node is not None:
        return {"numa_node": target.numa_node}
    return {"ranges": [_range(item) for item in target.ranges]} if target.ranges else {}


def _range(span: AddressRange) -> Document:
    return {"start": hex(span.start), "end": hex(span.end)}


def _monitoring(monitoring: Monitoring) -> Document:
    document: Document = {
        "sampling_interval": format_duration(monitoring.sample_us),
        "aggregation_interval": format_duration(monitoring.aggr_us),
        "update_interval": format_duration(monitoring.update_us),
        "min_regions": monitoring.min_regions,
        "max_regions": monitoring.max_regions,
        "userspace": {
            "probe": monitoring.userspace.probe.value,
            "cpu": format_share(monitoring.userspace.cpu_bp),
            "stall": format_duration(monitoring.userspace.stall_us),
        },
    }
    goal = monitoring.intervals_goal
    if goal is not None:
        document["intervals_goal"] = {
            "access": format_share(goal.access_bp),
            "aggregations": goal.aggrs,
            "min_sampling_interval": format_duration(goal.min_sample_us),
            "max_sampling_interval": format_duration(goal.max_sample_us),
        }
    return document


def _guard(limits: Limits) -> Document:
    document: Document = {
        "refaults": MAX
        if limits.refaults_bp is None
        else f"{format_share(limits.refaults_bp)}/min",
        "memory_psi": _share_or_max(limits.memory_psi_bp),
        "io_psi": _share_or_max(limits.io_psi_bp),
        "swap_free": format_share(limits.swap_free_bp or 0),
        "cpu": _share_or_max(limits.cpu_bp),
    }
    if limits.external:
        document["external"] = [{**_source(one.source), "max": one.most} for one in limits.external]
    return document


def _source(source: External) -> Document:
    where = {"file": source.path} if source.path else {"feed": source.feed}
    return {**where, "stale_after": format_duration(source.stale_us)}


def _share_or_max(share: int | None) -> str:
    return MAX if share is None else format_share(share)


def _scheme(scheme: Scheme) -> Document:
    document: Document = {"action": scheme.action.value, "pattern": _pattern(scheme.pattern)}
    if scheme.apply_interval_us is not None:
        document["apply_interval"] = format_duration(scheme.apply_interval_us)
    if scheme.quota is not None:
        document["quota"] = _quota(scheme.quota)
    if scheme.filters:
        document["filters"] = [_filter(item) for item in scheme.filters]
    if scheme.watermarks is not None:
        marks = scheme.watermarks
        document["watermarks"] = {
            "interval": format_duration(marks.interval_us),
            "high": format_share(marks.high_permil * 10),
            "mid": format_share(marks.mid_permil * 10),
            "low": format_share(marks.low_permil * 10),
        }
    if scheme.destinations:
        nodes = [{"node": item.nid, "weight": item.weight} for item in scheme.destinations]
        document["destinations"] = nodes
    if scheme.max_nr_snapshots:
        document["max_nr_snapshots"] = scheme.max_nr_snapshots
    return document


def _pattern(pattern: Pattern) -> Document:
    size, rate, age = pattern.size_max, pattern.access_max_bp, pattern.age_max_us
    return {
        "size": {
            "min": format_size(pattern.size_min),
            "max": MAX if size is None else format_size(size),
        },
        "access_rate": {
            "min": format_share(pattern.access_min_bp),
            "max": MAX if rate is None else format_share(rate),
        },
        "age": "auto"
        if pattern.auto_age
        else {
            "min": format_duration(pattern.age_min_us),
            "max": MAX if age is None else format_duration(age),
        },
    }


def _quota(quota: Quota) -> Document:
    document: Document = {}
    if quota.time_us:
        document["time"] = format_duration(quota.time_us)
    if quota.size:
        document["size"] = format_size(quota.size)
    document["interval"] = format_duration(quota.interval_us)
    weights = quota.weights
    document["weights"] = {
        "size": weights.size,
        "access_rate": weights.access_rate,
        "age": weights.age,
    }
    if quota.goals:
        document["goals"] = [_goal(goal) for goal in quota.goals]
    document["tuner"] = quota.tuner.value
    if quota.fail_charge is not None:
        fail = quota.fail_charge
        document["fail_charge"] = {"numerator": fail.numerator, "denominator": fail.denominator}
    return document


def _goal(goal: Goal) -> Document:
    target = _goal_target(goal.metric, goal.target)
    rest: Document = {"node": goal.nid, "cgroup": goal.cgroup, "current": goal.current}
    given = {key: value for key, value in rest.items() if value is not None}
    if goal.source is not None:
        given |= _source(goal.source)
    if given or goal.metric is GoalMetric.USER_INPUT:
        return {goal.metric.value: {"target": target, **given}}
    return {goal.metric.value: target}


def _goal_target(metric: GoalMetric, value: int) -> str | int:
    match METRIC_UNITS.get(metric, MetricUnit.SHARE):
        case MetricUnit.COUNT:
            return value
        case MetricUnit.SIZE:
            return format_size(value)
        case MetricUnit.SHARE_PER_MINUTE:
            return f"{format_share(value)}/min"
        case MetricUnit.SHARE:
            return format_share(value)


def _filter(item: Filter) -> Document:
    match: str | Document = item.type.value
    if item.type is FilterType.MEMCG:
        match = {"memcg": item.cgroup}
    elif item.type is FilterType.TARGET:
        match = {"target": item.target_index}
    elif item.type is FilterType.ADDR and item.range is not None:
        match = {"addr": _range(item.range)}
    elif item.type is FilterType.HUGEPAGE_SIZE:
        most = MAX if item.size_max is None else format_size(item.size_max)
        match = {"hugepage_size": {"min": format_size(item.size_min or 0), "max": most}}
    return {"allow" if item.allow else "reject": match if item.matching else {"not": match}}
