"""Validated shapes into model values. Shapes were already checked: nothing fails here."""

from __future__ import annotations

from damos_agent.config.build_goal import build_goal
from damos_agent.config.shape_agent import AgentDocument
from damos_agent.config.shape_filter import FilterShape, FilterWord, MatchShape
from damos_agent.config.shape_policy import (
    GuardShape,
    MonitoringShape,
    PatternShape,
    PolicyDocument,
    SchemeShape,
    WatermarksShape,
)
from damos_agent.config.shape_quota import QuotaShape
from damos_agent.config.shape_target import TargetShape
from damos_agent.model.policy import (
    AddressRange,
    CgroupTarget,
    ContainerTarget,
    Destination,
    External,
    ExternalLimit,
    FailCharge,
    Filter,
    FilterType,
    IntervalsGoal,
    Limits,
    Monitoring,
    Origin,
    Pattern,
    PhysicalTarget,
    PidTarget,
    Policy,
    ProcessTarget,
    Quota,
    Scheme,
    Target,
    UnitTarget,
    Userspace,
    Watermarks,
    Weights,
)
from damos_agent.model.settings import MetricsSettings, OutcomeSettings, Settings


def build_policy(document: PolicyDocument, origin: Origin) -> Policy:
    """The policy a document describes."""
    spec = document.spec
    return Policy(
        name=document.metadata.name,
        target=build_target(spec.target),
        schemes=tuple(build_scheme(scheme) for scheme in spec.schemes),
        mode=spec.mode,
        backend=spec.backend,
        monitoring=_monitoring(spec.monitoring),
        guard=_guard(spec.guard),
        labels=dict(document.metadata.labels),
        annotations=dict(document.metadata.annotations),
        origin=origin,
    )


def build_target(shape: TargetShape) -> Target:
    """The one target that was given."""
    if shape.pid is not None:
        return PidTarget((shape.pid,))
    if shape.pids is not None:
        return PidTarget(tuple(shape.pids))
    if shape.process is not None:
        return ProcessTarget(shape.process.exe, shape.process.cmdline, shape.process.user)
    if shape.cgroup is not None:
        return CgroupTarget(shape.cgroup.path, shape.cgroup.descendants)
    if shape.systemd_unit is not None:
        return UnitTarget(shape.systemd_unit)
    if shape.container is not None:
        return ContainerTarget(shape.container)
    if shape.physical is None:
        raise AssertionError("TargetShape admits exactly one key")
    ranges = tuple(AddressRange(item.start, item.end) for item in shape.physical.ranges)
    return PhysicalTarget(shape.physical.numa_node, ranges)


def _monitoring(shape: MonitoringShape) -> Monitoring:
    goal, own = shape.intervals_goal, shape.userspace
    return Monitoring(
        sample_us=shape.sampling_interval,
        aggr_us=shape.aggregation_interval,
        update_us=shape.update_interval,
        min_regions=shape.min_regions,
        max_regions=shape.max_regions,
        intervals_goal=None
        if goal is None
        else IntervalsGoal(
            goal.access, goal.aggregations, goal.min_sampling_interval, goal.max_sampling_interval
        ),
        userspace=Userspace(own.probe, own.cpu, own.stall),
    )


def _guard(shape: GuardShape) -> Limits:
    return Limits(
        refaults_bp=shape.refaults,
        memory_psi_bp=shape.memory_psi,
        io_psi_bp=shape.io_psi,
        swap_free_bp=shape.swap_free or None,
        cpu_bp=shape.cpu,
        external=tuple(
            ExternalLimit(External(one.feed or "", one.file or "", one.stale_after), one.max)
            for one in shape.external
        ),
    )


def build_scheme(shape: SchemeShape) -> Scheme:
    """One scheme."""
    return Scheme(
        action=shape.action,
        pattern=_pattern(shape.pattern),
        apply_interval_us=shape.apply_interval,
        quota=None if shape.quota is None else _quota(shape.quota),
        filters=tuple(build_filter(item) for item in shape.filters),
        watermarks=None if shape.watermarks is None else _watermarks(shape.watermarks),
        destinations=tuple(Destination(item.node, item.weight) for item in shape.destinations),
        max_nr_snapshots=shape.max_nr_snapshots,
    )


def _pattern(shape: PatternShape) -> Pattern:
    size, rate = shape.size, shape.access_rate
    age = None if shape.age == "auto" else shape.age
    return Pattern(
        size_min=size.min if size else 0,
        size_max=size.max if size else None,
        access_min_bp=rate.min if rate else 0,
        access_max_bp=rate.max if rate else None,
        age_min_us=age.min if age else 0,
        age_max_us=age.max if age else None,
        auto_age=shape.age == "auto",
    )


def _quota(shape: QuotaShape) -> Quota:
    weights, fail = shape.weights, shape.fail_charge
    return Quota(
        time_us=shape.time or 0,
        size=shape.size or 0,
        interval_us=shape.interval,
        weights=Weights(weights.size, weights.access_rate, weights.age) if weights else Weights(),
        goals=tuple(build_goal(goal) for goal in shape.goals),
        tuner=shape.tuner,
        fail_charge=FailCharge(fail.numerator, fail.denominator) if fail else None,
    )


def build_filter(shape: FilterShape) -> Filter:
    """One filter; a double `not` cancels out."""
    allow = shape.allow is not None
    match = shape.allow if shape.allow is not None else shape.reject
    matching = True
    while isinstance(match, MatchShape) and match.not_ is not None:
        matching, match = not matching, match.not_
    if isinstance(match, FilterWord):
        return Filter(FilterType(match.value), allow, matching)
    if match is None:
        raise AssertionError("FilterShape admits exactly one key")
    return _filter_with_argument(match, allow, matching)


def _filter_with_argument(match: MatchShape, allow: bool, matching: bool) -> Filter:
    if match.memcg is not None:
        return Filter(FilterType.MEMCG, allow, matching, cgroup=match.memcg)
    if match.addr is not None:
        span = AddressRange(match.addr.start, match.addr.end)
        return Filter(FilterType.ADDR, allow, matching, range=span)
    if match.target is not None:
        return Filter(FilterType.TARGET, allow, matching, target_index=match.target)
    if match.hugepage_size is None:
        raise AssertionError("MatchShape admits exactly one key")
    size = match.hugepage_size
    return Filter(FilterType.HUGEPAGE_SIZE, allow, matching, size_min=size.min, size_max=size.max)


def _watermarks(shape: WatermarksShape) -> Watermarks:
    return Watermarks(shape.interval, shape.high // 10, shape.mid // 10, shape.low // 10)


def build_settings(document: AgentDocument) -> Settings:
    """The settings a document describes."""
    spec = document.spec
    return Settings(
        resync_us=spec.resync_interval,
        follow_us=spec.follow_interval,
        outcome_us=spec.outcome_interval,
        settle_us=spec.settle_time,
        boot_grace_us=spec.boot_grace,
        watch=spec.watch,
        drift=spec.drift,
        on_exit=spec.on_exit,
        slots=spec.slots,
        damon_stat=spec.damon_stat,
        metrics=MetricsSettings(
            spec.metrics.listen, spec.metrics.textfile or "", spec.metrics.textfile_interval
        ),
        outcomes=OutcomeSettings(
            spec.outcomes.file if spec.outcomes.enabled else "",
            spec.outcomes.max_size,
            spec.outcomes.keep,
        ),
        log_format=spec.log.format,
        log_level=spec.log.level,
    )
