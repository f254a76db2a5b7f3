"""Reading a staged context the way `on` and `commit` do, with the kernel's refusals."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from tests.sim.errors import refuse
from tests.sim.host import Host, Range
from tests.sim.regions import round_out
from tests.sim.tree import Dir
from tests.sim.versions import Version, behaviour

U32 = 0xFFFF_FFFF
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Attrs:
    """Intervals in µs, bounds of the region count, and the interval goal (0 aggrs: none)."""

    sample: int
    aggr: int
    update: int
    least: int
    most: int
    goal: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """One staged target."""

    pid: int | None
    ranges: tuple[Range, ...]
    obsolete: bool


@dataclass(frozen=True, slots=True)
class GoalSpec:
    """One quota goal."""

    metric: str
    target: int
    current: int


@dataclass(frozen=True, slots=True)
class QuotaSpec:
    """Quota limits; reset in µs."""

    ms: int
    size: int
    reset: int
    tuner: str
    goals: tuple[GoalSpec, ...]

    @property
    def limited(self) -> bool:
        """Whether there is a quota at all."""
        return bool(self.ms or self.size or self.goals)


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """One core filter (`addr` or `target`)."""

    kind: str
    matching: bool
    allow: bool
    area: Range
    target: int


@dataclass(frozen=True, slots=True)
class SchemeSpec:
    """One staged scheme, as the kernel keeps it."""

    action: str
    size: Range
    accesses: Range
    age: Range
    apply: int
    quota: QuotaSpec
    core: tuple[FilterSpec, ...]
    ops_filters: int
    marks: tuple[str, int, int, int]
    max_snapshots: int


@dataclass(frozen=True, slots=True)
class ContextSpec:
    """A whole staged context; `unit` is the minimum region size."""

    operations: str
    unit: int
    paused: bool
    attrs: Attrs
    targets: tuple[TargetSpec, ...]
    schemes: tuple[SchemeSpec, ...]


def _attrs(context: Dir) -> Attrs:
    at = context.at("monitoring_attrs")
    goal = "intervals/intervals_goal/"
    attrs = Attrs(
        at.number("intervals/sample_us"),
        at.number("intervals/aggr_us"),
        at.number("intervals/update_us"),
        at.number("nr_regions/min"),
        at.number("nr_regions/max"),
        (
            at.number(goal + "access_bp"),
            at.number(goal + "aggrs"),
            at.number(goal + "min_sample_us"),
            at.number(goal + "max_sample_us"),
        ),
    )
    _, aggrs, low, high = attrs.goal
    bad_goal = aggrs and not low <= attrs.sample <= high
    if attrs.least < 3 or attrs.least > attrs.most or attrs.sample > attrs.aggr or bad_goal:
        raise refuse(errno.EINVAL)
    return attrs


def _known_cgroup(host: Host, stored: str) -> bool:
    return stored.removesuffix("\n") in host.cgroups


def _check_probes(context: Dir, host: Host, attrs: Attrs) -> None:
    if not context.has("monitoring_attrs/probes"):
        return
    weights = 0
    for probe in context.at("monitoring_attrs/probes").numbered():
        weights += probe.number("weight")
        for item in probe.at("filters").numbered():
            if item.values["type"] == "memcg" and not _known_cgroup(host, item.values["path"]):
                raise refuse(errno.EINVAL)
    samples = attrs.aggr // max(attrs.sample, 1)
    if weights and (samples > 255 or weights * samples > U32):
        raise refuse(errno.EINVAL)


def _ranges(target: Dir, unit: int, version: Version) -> tuple[Range, ...]:
    """Strict releases compare after rounding to `unit`, the others compare the raw values."""
    strict = behaviour(version).strict_ranges
    ranges: list[Range] = []
    for region in target.at("regions").numbered():
        area = region.number("start"), region.number("end")
        rounded = round_out(area, unit)
        if area[0] > area[1] or (strict and rounded[0] >= rounded[1]):
            raise refuse(errno.EINVAL)
        if ranges and ranges[-1][1] > (rounded if strict else area)[0]:
            raise refuse(errno.EINVAL)
        ranges.append(rounded if strict else area)
    return tuple(round_out(area, unit) for area in ranges)


def _target(target: Dir, operations: str, unit: int, host: Host, version: Version) -> TargetSpec:
    pid = None if operations == "paddr" else target.number("pid_target")
    if pid is not None and not host.processes.alive(pid):
        raise refuse(errno.EINVAL)
    ranges = _ranges(target, unit, version)
    return TargetSpec(pid, ranges, target.flag("obsolete_target"))


def goals(scheme: Dir, host: Host, *, physical: bool) -> tuple[GoalSpec, ...]:
    """The goals of a staged scheme that count: those with a target. EINVAL for bad ones."""
    if not scheme.has("quotas/goals"):
        return ()
    kept = []
    for goal in scheme.at("quotas/goals").numbered():
        metric = goal.text("target_metric", "user_input")
        if not goal.number("target_value"):
            continue
        if metric.startswith("node_memcg_") and not _known_cgroup(host, goal.text("path")):
            raise refuse(errno.EINVAL)
        if metric == "node_eligible_mem_bp" and not physical:
            raise refuse(errno.EPROTO)
        kept.append(GoalSpec(metric, goal.number("target_value"), goal.number("current_value")))
    return tuple(kept)


def _filter(item: Dir, host: Host) -> FilterSpec | None:
    """One filter, or None for those of the operations layer. EINVAL for unusable ones."""
    kind = item.text("type")
    area = item.number("addr_start"), item.number("addr_end")
    bad_area = kind == "addr" and area[0] > area[1]
    bad_size = kind == "hugepage_size" and item.number("min") > item.number("max")
    bad_path = kind == "memcg" and not _known_cgroup(host, item.text("memcg_path"))
    if bad_area or bad_size or bad_path:
        raise refuse(errno.EINVAL)
    if kind not in ("addr", "target"):
        return None
    target = item.number("damon_target_idx")
    return FilterSpec(kind, item.flag("matching"), item.flag("allow"), area, target)


def _bounds(scheme: Dir, name: str, mask: int) -> Range:
    at = f"access_pattern/{name}/"
    return scheme.number(at + "min") & mask, scheme.number(at + "max") & mask


def _scheme(scheme: Dir, host: Host, *, physical: bool) -> SchemeSpec:
    filters = [
        _filter(item, host)
        for layer in ("core_filters", "ops_filters", "filters")
        if scheme.has(layer)
        for item in scheme.at(layer).numbered()
    ]
    quota = QuotaSpec(
        scheme.number("quotas/ms"),
        scheme.number("quotas/bytes"),
        scheme.number("quotas/reset_interval_ms") * 1000,
        scheme.text("quotas/goal_tuner", "consist"),
        goals(scheme, host, physical=physical),
    )
    high, mid, low = (scheme.number(f"watermarks/{name}") for name in ("high", "mid", "low"))
    return SchemeSpec(
        scheme.values["action"],
        _bounds(scheme, "sz", (1 << 64) - 1),
        _bounds(scheme, "nr_accesses", U32),
        _bounds(scheme, "age", U32),
        scheme.number("apply_interval_us"),
        quota,
        tuple(item for item in filters if item is not None),
        sum(item is None for item in filters),
        (scheme.text("watermarks/metric"), high, mid, low),
        scheme.number("stats/max_nr_snapshots"),
    )


def _schemes(context: Dir, host: Host, *, physical: bool) -> tuple[SchemeSpec, ...]:
    """Any refusal inside a scheme comes out as ENOMEM; a goal of the wrong operations as EINVAL."""
    try:
        return tuple(
            _scheme(scheme, host, physical=physical) for scheme in context.at("schemes").numbered()
        )
    except OSError as error:
        code = errno.EINVAL if error.errno == errno.EPROTO else errno.ENOMEM
        raise refuse(code) from None


def _unit(context: Dir, operations: str) -> int:
    unit = max(PAGE // context.number("addr_unit", 1), 1) if operations == "paddr" else PAGE
    if unit & (unit - 1):
        raise refuse(errno.EINVAL)
    return unit


def read_context(context: Dir, host: Host, version: Version) -> ContextSpec:
    """The staged `context` as the kernel would run it; `OSError` with the errno of `on`."""
    operations = context.values["operations"]
    if operations not in host.registered:
        raise refuse(errno.EINVAL)
    unit = _unit(context, operations)
    attrs = _attrs(context)
    _check_probes(context, host, attrs)
    targets = context.at("targets").numbered()
    if operations == "paddr" and len(targets) > 1:
        raise refuse(errno.EINVAL)
    return ContextSpec(
        operations,
        unit,
        context.flag("pause"),
        attrs,
        tuple(_target(target, operations, unit, host, version) for target in targets),
        _schemes(context, host, physical=operations == "paddr"),
    )
