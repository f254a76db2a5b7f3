"""A policy in people's units becomes a DAMON context in the kernel's counts. Pure.

Rates become sample counts (nr_accesses of ⌊aggr/sample⌋ samples), ages become numbers of
aggregations, shares of time become microseconds per quota interval. What a kernel cannot
honour raises `UnsupportedError`: much of it the kernel would accept and silently ignore.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from damos_agent.algo.filter_layers import lower_filters
from damos_agent.algo.goals import GOAL_FEATURES
from damos_agent.algo.overlay import resolved
from damos_agent.model.damon import ContextSpec, DestSpec, GoalSpec, SchemeSpec, TargetSpec
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.feature import Feature, Features, Ops, missing_feature
from damos_agent.model.policy import (
    KERNEL_METRICS,
    Action,
    FilterType,
    Goal,
    GoalMetric,
    Mode,
    PhysicalTarget,
    Policy,
    Quota,
    Scheme,
    Target,
)
from damos_agent.model.units import U32_MAX, ULONG_MAX, format_duration

_VADDR_ONLY = {
    Action.WILLNEED,
    Action.COLD,
    Action.HUGEPAGE,
    Action.NOHUGEPAGE,
    Action.COLLAPSE,
}
_PADDR_ONLY = {Action.LRU_PRIO, Action.LRU_DEPRIO}
_MIGRATE = {Action.MIGRATE_HOT, Action.MIGRATE_COLD}


@dataclass(frozen=True, slots=True)
class Intervals:
    """Sampling and aggregation interval as they run now, in µs."""

    sample_us: int
    aggr_us: int

    @property
    def samples(self) -> int:
        """The highest possible nr_accesses."""
        return max(1, self.aggr_us // max(self.sample_us, 1))


def ops_of(target: Target) -> Ops:
    """The operation set that monitors such a target."""
    return Ops.PADDR if isinstance(target, PhysicalTarget) else Ops.VADDR


def check_ops(policy: Policy, features: Features) -> None:
    """Raise `UnsupportedError` when the kernel has no usable DAMON for this policy's target."""
    ops = ops_of(policy.target)
    if Feature.COMMIT not in features:
        # A known reason of another kind, such as a missing privilege, is not for guessing at.
        lacks = not features.detail or "has no DAMON" in features.detail
        hint = "it needs CONFIG_DAMON_SYSFS and Linux 5.19 or newer" if lacks else ""
        raise UnsupportedError(
            features.detail or f"kernel {features.release} has no DAMON sysfs interface",
            hint=hint,
        )
    if ops not in features.ops:
        raise UnsupportedError(
            f"kernel {features.release} has no DAMON operation set '{ops}'",
            hint=f"it needs CONFIG_DAMON_{ops.upper()}",
        )


def lower(
    policy: Policy,
    targets: tuple[TargetSpec, ...],
    features: Features,
    *,
    running: Intervals | None = None,
    primed: tuple[bool, ...] = (),
) -> ContextSpec:
    """The context for `policy` over `targets`.

    `running`: the auto-tuned intervals in force, by which ages are counted. `primed`: per
    scheme, whether its quota has seen its first window (see `planner`); others match nothing.
    """
    check_ops(policy, features)
    monitoring = policy.monitoring
    base = Intervals(monitoring.sample_us, monitoring.aggr_us)
    ops = ops_of(policy.target)
    goal = monitoring.intervals_goal
    schemes = []
    for index, scheme in enumerate(policy.schemes):
        lowered = lower_scheme(scheme, policy.mode, ops, features, running or base)
        if needs_priming(lowered, features) and not (index < len(primed) and primed[index]):
            lowered = _matching_nothing(lowered)
        schemes.append(lowered)
    return ContextSpec(
        ops=ops,
        targets=targets,
        schemes=(*schemes, *_census(policy, features)),
        sample_us=base.sample_us,
        aggr_us=base.aggr_us,
        update_us=monitoring.update_us,
        goal_access_bp=goal.access_bp if goal else 0,
        goal_aggrs=goal.aggrs if goal else 0,
        goal_min_sample_us=goal.min_sample_us if goal else 0,
        goal_max_sample_us=goal.max_sample_us if goal else 0,
        min_nr_regions=monitoring.min_regions,
        max_nr_regions=monitoring.max_regions,
    )


CENSUS = SchemeSpec(Action.STAT, 0, ULONG_MAX, 0, U32_MAX, 0, U32_MAX)
"""A scheme that tries every region and does nothing: its counters tell how many there are."""


def _census(policy: Policy, features: Features) -> tuple[SchemeSpec, ...]:
    """Left out where a scheme has watermarks: always active, it would keep monitoring awake.

    Awake it must be before 6.15, which serves a commit after an aggregation only: with every scheme
    outside its watermarks there is none, and the commit would block for as long.
    """
    marked = any(scheme.watermarks for scheme in policy.schemes)
    return () if marked and Feature.RELIABLE_COMMIT in features else (CENSUS,)


def needs_priming(scheme: SchemeSpec, features: Features) -> bool:
    """Before 6.18 a quota's first window has no limit: such a scheme must first match nothing."""
    limited = scheme.quota_ms or scheme.quota_bytes or scheme.goals
    return bool(limited) and Feature.FIRST_WINDOW_QUOTA not in features


def _matching_nothing(scheme: SchemeSpec) -> SchemeSpec:
    return replace(
        scheme,
        sz_min=0,
        sz_max=0,
        nr_accesses_min=0,
        nr_accesses_max=0,
        age_min=0,
        age_max=0,
    )


def lower_scheme(
    scheme: Scheme, mode: Mode, ops: Ops, features: Features, intervals: Intervals
) -> SchemeSpec:
    """One scheme for the kernel. Raises `UnsupportedError` for what DAMON would ignore."""
    _check_action(scheme, ops, features)
    return shape_scheme(scheme, mode, ops, features, intervals)


def shape_scheme(
    scheme: Scheme, mode: Mode, ops: Ops, features: Features, intervals: Intervals
) -> SchemeSpec:
    """One scheme in counts, whoever carries it out.

    While observing the action is `stat` and nothing limits what is counted.
    """
    enforce = mode is Mode.ENFORCE
    pattern = resolved(scheme.pattern, None)
    layers = lower_filters(scheme.filters, features)
    quota = scheme.quota if enforce else None
    spec = SchemeSpec(
        action=scheme.action if enforce else Action.STAT,
        sz_min=pattern.size_min,
        sz_max=ULONG_MAX if pattern.size_max is None else pattern.size_max,
        nr_accesses_min=-(-pattern.access_min_bp * intervals.samples // 10_000),
        nr_accesses_max=U32_MAX
        if pattern.access_max_bp is None
        else pattern.access_max_bp * intervals.samples // 10_000,
        age_min=min(-(-pattern.age_min_us // intervals.aggr_us), U32_MAX),
        age_max=U32_MAX
        if pattern.age_max_us is None
        else min(pattern.age_max_us // intervals.aggr_us, U32_MAX),
        apply_interval_us=scheme.apply_interval_us or 0,
        core_filters=layers.core,
        ops_filters=layers.ops,
        filters=layers.flat,
        max_nr_snapshots=scheme.max_nr_snapshots,
    )
    spec = _with_watermarks(spec, scheme)
    if quota is not None:
        spec = _with_quota(spec, quota, ops, features)
    return _with_destinations(spec, scheme, ops) if enforce else spec


def _check_action(scheme: Scheme, ops: Ops, features: Features) -> None:
    action = scheme.action
    wrong = _PADDR_ONLY if ops is Ops.VADDR else _VADDR_ONLY
    if action in wrong:
        kind = "processes" if ops is Ops.VADDR else "physical memory"
        raise UnsupportedError(
            f"DAMON cannot do action '{action}' on {kind}; it would be accepted and do nothing",
            hint="see the action table in docs/policy-reference.md",
        )
    needed = {Action.COLLAPSE: Feature.COLLAPSE}
    needed |= dict.fromkeys(_PADDR_ONLY, Feature.LRU_ACTIONS)
    needed |= dict.fromkeys(_MIGRATE, Feature.MIGRATE if ops is Ops.PADDR else Feature.DESTS)
    if action in needed and needed[action] not in features:
        raise missing_feature(needed[action], features, f"action '{action}' on {ops}")
    core = (FilterType.ADDR, FilterType.TARGET)
    page_level = [item.type for item in scheme.filters if item.type not in core]
    if ops is Ops.VADDR and page_level and action not in _MIGRATE | {Action.STAT}:
        raise UnsupportedError(
            f"DAMON ignores filter '{page_level[0]}' for action '{action}' on processes, "
            "so memory meant to be spared would be acted on",
            hint="use a physical target, or only addr and target filters",
        )


def _with_watermarks(spec: SchemeSpec, scheme: Scheme) -> SchemeSpec:
    marks = scheme.watermarks
    if marks is None:
        return spec
    return replace(
        spec,
        wmark_metric="free_mem_rate",
        wmark_interval_us=marks.interval_us,
        wmark_high=marks.high_permil,
        wmark_mid=marks.mid_permil,
        wmark_low=marks.low_permil,
    )


def _with_quota(spec: SchemeSpec, quota: Quota, ops: Ops, features: Features) -> SchemeSpec:
    fail = quota.fail_charge
    return replace(
        spec,
        quota_ms=quota.time_us // 1_000,
        quota_bytes=quota.size,
        reset_interval_ms=quota.interval_us // 1_000,
        goal_tuner=quota.tuner,
        fail_charge_num=fail.numerator if fail else 0,
        fail_charge_denom=fail.denominator if fail else 0,
        weight_sz=quota.weights.size,
        weight_nr_accesses=quota.weights.access_rate,
        weight_age=quota.weights.age,
        goals=tuple(lower_goal(goal, quota, ops, features) for goal in quota.goals),
    )


def lower_goal(goal: Goal, quota: Quota, ops: Ops, features: Features) -> GoalSpec:
    """One goal in the kernel's metric and unit. A target of 0 would be silently skipped there."""
    keyword = KERNEL_METRICS.get(goal.metric)
    if keyword is None:
        raise UnsupportedError(
            f"goal '{goal.metric}' cannot be measured by this version of the agent yet",
            hint="use another metric: see docs/policy-reference.md",
        )
    feature = GOAL_FEATURES[goal.metric]
    if feature not in features:
        raise missing_feature(feature, features, f"goal '{goal.metric}'")
    if goal.metric is GoalMetric.NODE_ELIGIBLE_MEM and ops is not Ops.PADDR:
        raise UnsupportedError(
            f"goal '{goal.metric}' works on physical memory only", hint="use a physical target"
        )
    target = goal.target
    if goal.metric is GoalMetric.MEMORY_PSI_SOME:
        target = goal.target * quota.interval_us // 10_000
    if target == 0:
        raise UnsupportedError(
            f"the target of goal '{goal.metric}' is 0 in the kernel's unit, which DAMON skips",
            hint=f"raise the target or the quota interval ({format_duration(quota.interval_us)})",
        )
    return GoalSpec(keyword, target, goal.current or 0, goal.nid or 0, goal.cgroup or "")


def _with_destinations(spec: SchemeSpec, scheme: Scheme, ops: Ops) -> SchemeSpec:
    nodes = scheme.destinations
    if not nodes:
        return spec
    if len(nodes) == 1:
        return replace(spec, target_nid=nodes[0].nid)
    if ops is Ops.PADDR:
        raise UnsupportedError(
            "DAMON migrates physical memory to one node only", hint="name one destination"
        )
    return replace(spec, dests=tuple(DestSpec(node.nid, node.weight) for node in nodes))
