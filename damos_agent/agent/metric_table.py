"""One row per metric: name, type, labels, meaning, and how to read it off an `AgentStatus`.

Labels are bounded by the policies there are (policy, scheme, goal) or closed sets; never a pid,
path or address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from damos_agent.algo.guard import Stage
from damos_agent.model.status import (
    AgentStatus,
    Fallback,
    GuardStatus,
    PolicyState,
    PolicyStatus,
    SchemeOutcome,
    Worth,
)

Sample = tuple[tuple[str, ...], float]
"""Label values in the row's order, and the value."""


class MetricType(StrEnum):
    """Prometheus metric types used here."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric family. `name` is the exposed one, with `_total` for counters."""

    name: str
    type: MetricType
    meaning: str
    labels: tuple[str, ...]
    samples: Callable[[AgentStatus], Iterator[Sample]]


def _agent(name: str, meaning: str, read: Callable[[AgentStatus], float]) -> Metric:
    return Metric(name, MetricType.GAUGE, meaning, (), lambda status: iter([((), read(status))]))


def _policy(name: str, meaning: str, read: Callable[[PolicyStatus], float | None]) -> Metric:
    def samples(status: AgentStatus) -> Iterator[Sample]:
        for policy in status.policies:
            if (value := read(policy)) is not None:
                yield (policy.name,), value

    return Metric(name, MetricType.GAUGE, meaning, ("policy",), samples)


def _scheme(name: str, meaning: str, read: Callable[[SchemeOutcome], float | None]) -> Metric:
    def samples(status: AgentStatus) -> Iterator[Sample]:
        for policy in status.policies:
            for scheme in policy.schemes:
                if (value := read(scheme)) is not None:
                    yield (policy.name, str(scheme.index), scheme.action), value

    kind = MetricType.COUNTER if name.endswith("_total") else MetricType.GAUGE
    return Metric(name, kind, meaning, ("policy", "scheme", "action"), samples)


def _goal(name: str, meaning: str, member: str) -> Metric:
    def samples(status: AgentStatus) -> Iterator[Sample]:
        for policy in status.policies:
            for scheme in policy.schemes:
                for index, goal in enumerate(scheme.goals):
                    labels = (policy.name, str(scheme.index), str(index), goal.metric, goal.unit)
                    value = goal.target if member == "target" else goal.current
                    if value is not None:
                        yield labels, value

    labels = ("policy", "scheme", "goal", "metric", "unit")
    return Metric(name, MetricType.GAUGE, meaning, labels, samples)


def _build_info(status: AgentStatus) -> Iterator[Sample]:
    yield (status.version, status.backend), 1


def _reloads(status: AgentStatus) -> Iterator[Sample]:
    yield ("success",), status.reloads - status.reload_failures
    yield ("failure",), status.reload_failures


def _policies(status: AgentStatus) -> Iterator[Sample]:
    for state in PolicyState:
        yield (state.value,), sum(policy.state is state for policy in status.policies)
    yield ("rejected",), status.rejected_files


def _policy_state(status: AgentStatus) -> Iterator[Sample]:
    for policy in status.policies:
        for state in PolicyState:
            yield (policy.name, state.value), float(policy.state is state)


def _policy_backend(status: AgentStatus) -> Iterator[Sample]:
    for policy in status.policies:
        for backend in ("kernel", "userspace"):
            yield (policy.name, backend), float(policy.backend == backend)


def _policy_fallback(status: AgentStatus) -> Iterator[Sample]:
    for policy in status.policies:
        if policy.fallback is not None:
            for reason in Fallback:
                yield (policy.name, reason.value), float(policy.fallback is reason)


def _probe_info(status: AgentStatus) -> Iterator[Sample]:
    for policy in status.policies:
        if policy.probe:
            yield (policy.name, policy.probe, policy.granularity), 1


def _guard(name: str, meaning: str, read: Callable[[GuardStatus], float]) -> Metric:
    return _policy(name, meaning, lambda one: read(one.guard) if one.guard else None)


def _guard_stage(status: AgentStatus) -> Iterator[Sample]:
    for policy in status.policies:
        if policy.guard is not None:
            for stage in Stage:
                yield (policy.name, stage.value), float(policy.guard.stage == stage)


def _guard_levels(status: AgentStatus) -> Iterator[Sample]:
    for policy in status.policies:
        for name, level in (policy.guard.levels if policy.guard else {}).items():
            if level is not None:
                yield (policy.name, name), level / 1e4


def _worth(name: str, meaning: str, read: Callable[[Worth], float | None]) -> Metric:
    return _policy(name, meaning, lambda one: read(one.worth) if one.worth else None)


def _refaults(status: AgentStatus) -> Iterator[Sample]:
    for policy in status.policies:
        if policy.worth is not None and policy.worth.refaults is not None:
            yield (policy.name,), policy.worth.refaults


def _canary(name: str, meaning: str, member: str) -> Metric:
    def samples(status: AgentStatus) -> Iterator[Sample]:
        for policy in status.policies:
            if policy.canaries is not None:
                yield (policy.name,), getattr(policy.canaries, f"{member}_bytes")

    return Metric(name, MetricType.COUNTER, meaning, ("policy",), samples)


def _drift(status: AgentStatus) -> Iterator[Sample]:
    # Every policy from the start: a counter that appears at 1 hides its first increase.
    for name in sorted({policy.name for policy in status.policies} | status.drift.keys()):
        yield (name,), status.drift.get(name, 0)


def _writes(status: AgentStatus) -> Iterator[Sample]:
    yield ("ok",), status.sysfs_writes - status.sysfs_write_failures
    yield ("error",), status.sysfs_write_failures


METRICS: tuple[Metric, ...] = (
    Metric(
        "damos_agent_build_info",
        MetricType.GAUGE,
        "Always 1; the agent's version and the backend in use",
        ("version", "backend"),
        _build_info,
    ),
    _agent(
        "damos_agent_start_time_seconds",
        "When the agent started, since the epoch",
        lambda status: status.started,
    ),
    _agent(
        "damos_agent_config_last_reload_successful",
        "1 if the last reload rejected nothing",
        lambda status: float(status.last_reload_ok),
    ),
    _agent(
        "damos_agent_config_last_reload_success_timestamp_seconds",
        "When the last reload that rejected nothing ended, since the epoch",
        lambda status: status.last_reload,
    ),
    Metric(
        "damos_agent_config_reloads_total",
        MetricType.COUNTER,
        "Reloads, by result",
        ("result",),
        _reloads,
    ),
    Metric(
        "damos_agent_policies",
        MetricType.GAUGE,
        "Policies by state; rejected counts files that were never good, agent.yaml and directories "
        "with errors (damos_agent_policy_stale tells of the others)",
        ("state",),
        _policies,
    ),
    Metric(
        "damos_agent_policy_state",
        MetricType.GAUGE,
        "1 for the state a policy is in, 0 for the others",
        ("policy", "state"),
        _policy_state,
    ),
    _policy(
        "damos_agent_policy_stale",
        "1 while a policy's file has errors and its last good version goes on",
        lambda policy: float(policy.stale_since is not None),
    ),
    Metric(
        "damos_agent_drift_total",
        MetricType.COUNTER,
        "Times somebody else's change to a policy's kdamond was found",
        ("policy",),
        _drift,
    ),
    Metric(
        "damos_agent_sysfs_writes_total",
        MetricType.COUNTER,
        "Writes to DAMON's sysfs files, by result",
        ("result",),
        _writes,
    ),
    _agent(
        "damos_agent_kdamond_slots",
        "Kdamond directories of the agent",
        lambda status: status.pool,
    ),
    _agent(
        "damos_agent_foreign_kdamonds",
        "Kdamonds of somebody else",
        lambda status: status.foreign_kdamonds,
    ),
    Metric(
        "damos_agent_policy_backend",
        MetricType.GAUGE,
        "1 for the backend that serves a policy, 0 for the others",
        ("policy", "backend"),
        _policy_backend,
    ),
    Metric(
        "damos_agent_policy_fallback",
        MetricType.GAUGE,
        "Of policies in user space: 1 for why the kernel does not serve them, 0 for other reasons: "
        + ", ".join(Fallback),
        ("policy", "reason"),
        _policy_fallback,
    ),
    Metric(
        "damos_monitor_probe_info",
        MetricType.GAUGE,
        "Always 1; what tells accesses in user space",
        ("policy", "probe", "granularity"),
        _probe_info,
    ),
    _policy(
        "damos_monitor_cpu_ratio",
        "Share of one core that monitoring in user space takes",
        lambda policy: policy.cpu_bp / 1e4 if policy.cpu_bp is not None else None,
    ),
    _policy(
        "damos_monitor_stretch_ratio",
        "Sampling interval in user space over the one asked for; above 1 the budget is too small",
        lambda policy: policy.stretched if policy.probe else None,
    ),
    _canary("damos_canary_sent_bytes_total", "Memory paged out ahead to try the rest", "sent"),
    _canary("damos_canary_back_bytes_total", "Of that, what was soon needed again", "back"),
    _canary("damos_canary_spared_bytes_total", "Memory not paged out because of it", "spared"),
    Metric(
        "damos_guard_stage",
        MetricType.GAUGE,
        "1 for the stage a policy's guard is in, 0 for the others",
        ("policy", "stage"),
        _guard_stage,
    ),
    _guard(
        "damos_guard_allowed_ratio",
        "Share of the quotas that the guard allows; 0: page-out is stopped",
        lambda guard: guard.share_bp / 1e4,
    ),
    Metric(
        "damos_guard_level_ratio",
        MetricType.GAUGE,
        "How much of what is allowed each signal of harm has used up; page-out stops at 1",
        ("policy", "signal"),
        _guard_levels,
    ),
    Metric(
        "damos_policy_refaults_total",
        MetricType.COUNTER,
        "Pages needed again after they were evicted, of those a policy that pages out is about",
        ("policy",),
        _refaults,
    ),
    _worth(
        "damos_policy_saved_gross_bytes",
        "Memory of the policy's target that is in swap, as of the last outcome",
        lambda worth: worth.gross,
    ),
    _worth(
        "damos_policy_saved_net_bytes",
        "The same, less what zram and zswap take to hold it and the agent's own memory",
        lambda worth: worth.net,
    ),
    _worth(
        "damos_policy_cpu_ratio",
        "Share of one core that its kdamond or monitor took in the last outcome interval",
        lambda worth: (
            worth.cpu_us / worth.interval_us
            if worth.cpu_us is not None and worth.interval_us
            else None
        ),
    ),
    _policy(
        "damos_monitor_targets", "Processes or ranges monitored", lambda policy: policy.targets
    ),
    _policy("damos_monitor_regions", "Monitoring regions", lambda policy: policy.regions),
    _policy(
        "damos_monitor_sample_interval_seconds",
        "Sampling interval in use, tuned or configured",
        lambda policy: policy.sample_us / 1e6 if policy.sample_us else None,
    ),
    _policy(
        "damos_monitor_aggregation_interval_seconds",
        "Aggregation interval in use, tuned or configured",
        lambda policy: policy.aggr_us / 1e6 if policy.aggr_us else None,
    ),
    _scheme(
        "damos_scheme_tried_bytes_total",
        "Memory the action was tried on; the same memory counts each time",
        lambda scheme: scheme.sz_tried,
    ),
    _scheme(
        "damos_scheme_applied_bytes_total",
        "Memory the action was applied to; the same memory counts each time",
        lambda scheme: scheme.sz_applied,
    ),
    _scheme(
        "damos_scheme_tried_regions_total",
        "Regions the action was tried on",
        lambda scheme: scheme.nr_tried,
    ),
    _scheme(
        "damos_scheme_applied_regions_total",
        "Regions the action was applied to",
        lambda scheme: scheme.nr_applied,
    ),
    _scheme(
        "damos_scheme_quota_exceeds_total",
        "Times the quota was used up before its interval ended",
        lambda scheme: scheme.qt_exceeds,
    ),
    _scheme(
        "damos_scheme_quota_bytes",
        "Size quota per reset interval as configured; 0: none",
        lambda scheme: scheme.quota_bytes,
    ),
    _scheme(
        "damos_scheme_quota_effective_bytes",
        "Effective quota (esz) after time quota, goals and size quota",
        lambda scheme: scheme.effective_bytes,
    ),
    _scheme(
        "damos_scheme_matched_bytes",
        "Memory that matches the scheme's pattern now",
        lambda scheme: scheme.matched_bytes,
    ),
    _goal("damos_goal_target", "What the goal wants, in the unit the label names", "target"),
    _goal("damos_goal_current", "What the goal's metric measures now, same unit", "current"),
)
