"""The running context: targets, regions and schemes evolving on an explicit clock.

Modest on purpose: every access is certain (a region is hot or idle), regions split where heat
changes instead of at random places, and regions are applied in address order without scores.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace

from tests.sim import regions as reg
from tests.sim.errors import refuse
from tests.sim.host import Host
from tests.sim.regions import Region
from tests.sim.scheme import Scheme, Setting, Tried
from tests.sim.staged import Attrs, ContextSpec, GoalSpec, SchemeSpec, TargetSpec
from tests.sim.versions import Behaviour, Version


@dataclass(slots=True)
class Target:
    """A monitored process (pid None: physical memory)."""

    pid: int | None
    regions: list[Region] = field(default_factory=list)


def _rounded(interval: int, sample: int) -> int:
    sample = max(sample, 1)
    return max(interval // sample, 1) * sample


def _rescaled(count: int, old: Attrs, new: Attrs) -> int:
    before, after = (max(a.aggr // max(a.sample, 1), 1) for a in (old, new))
    return count * 10000 // before * after // 10000


class RunningContext:
    """What a kdamond thread owns. Times are µs on the machine's clock."""

    def __init__(self, spec: ContextSpec, host: Host, version: Version, rules: Behaviour) -> None:
        self.host, self.version, self.rules = host, version, rules
        self.spec, self.attrs = spec, spec.attrs
        self.targets: list[Target] = []
        self.schemes: list[Scheme] = []
        self.now = 0
        self.next_aggr = self.next_update = 0
        self.walks: dict[int, list[Tried]] | None = None

    def start(self, now: int) -> None:
        """Begin monitoring at `now`: targets, first regions, schedules."""
        self.now = now
        self._schedule()
        self.targets = [self._new_target(spec) for spec in self.spec.targets]
        self.schemes = [self._new_scheme(spec) for spec in self.spec.schemes]
        if self.spec.operations == "vaddr":
            for target in self.targets:
                if not target.regions:
                    self._follow_mappings(target)
        self._enforce_least()

    def alive(self) -> bool:
        """Whether the thread would go on: physical memory always, else any living target."""
        pids = [target.pid for target in self.targets]
        physical = self.spec.operations == "paddr"
        return physical or any(pid is not None and self.host.processes.alive(pid) for pid in pids)

    def setting(self) -> Setting:
        """What schemes see of this context."""
        metrics = self.host.metrics
        return Setting(
            self.spec.operations,
            self.spec.unit,
            self.version,
            self.rules,
            lambda metric: metrics.get(metric, 0),
        )

    # commit

    def check(self, spec: ContextSpec) -> None:
        """EINVAL for an obsolete target without a running counterpart."""
        for index, target in enumerate(spec.targets):
            if target.obsolete and index >= len(self.targets):
                raise refuse(errno.EINVAL)

    def commit(self, spec: ContextSpec) -> None:
        """Take `spec` over; regions, ages, counters and charges stay by index."""
        old = self.attrs
        self.spec = spec
        self._commit_schemes(spec.schemes)
        self._commit_targets(spec.targets)
        if spec.attrs == old and self.rules.equal_attrs_skipped:
            return
        self.attrs = spec.attrs
        for region in (region for target in self.targets for region in target.regions):
            region.nr = _rescaled(region.nr, old, spec.attrs)
            region.last = _rescaled(region.last, old, spec.attrs)
            region.age = region.age * old.aggr // max(spec.attrs.aggr, 1)
        self._schedule()

    def commit_goals(self, goals: list[tuple[GoalSpec, ...]]) -> None:
        """Replace only the goals, scheme by scheme."""
        for scheme, new in zip(self.schemes, goals, strict=False):
            scheme.spec = replace(scheme.spec, quota=replace(scheme.spec.quota, goals=new))

    def _commit_schemes(self, specs: tuple[SchemeSpec, ...]) -> None:
        del self.schemes[len(specs) :]
        for scheme, spec in zip(self.schemes, specs, strict=False):
            scheme.spec, scheme.active = spec, True
        self.schemes += [self._new_scheme(spec) for spec in specs[len(self.schemes) :]]

    def _commit_targets(self, specs: tuple[TargetSpec, ...]) -> None:
        kept: list[Target] = []
        for index, spec in enumerate(specs):
            if index >= len(self.targets):
                kept.append(self._new_target(spec))
            elif not spec.obsolete or self.version < (6, 19):
                self._recommit(self.targets[index], spec)
                kept.append(self.targets[index])
        self.targets = kept

    def _recommit(self, target: Target, spec: TargetSpec) -> None:
        target.pid = spec.pid
        if spec.ranges:
            ranges = list(spec.ranges)
            if self.rules.joins_staged_regions:
                ranges = reg.join_adjacent(ranges)
            target.regions = reg.apply_ranges(target.regions, ranges, self.spec.unit)

    def _new_target(self, spec: TargetSpec) -> Target:
        return Target(spec.pid, [Region(low, high) for low, high in spec.ranges])

    def _new_scheme(self, spec: SchemeSpec) -> Scheme:
        return Scheme(spec, self.now + self._apply_interval(spec))

    # time

    def _apply_interval(self, spec: SchemeSpec) -> int:
        return _rounded(spec.apply or self.attrs.aggr, self.attrs.sample)

    def _schedule(self) -> None:
        self.next_aggr = self.now + _rounded(self.attrs.aggr, self.attrs.sample)
        self.next_update = self.now + _rounded(self.attrs.update, self.attrs.sample)
        for scheme in self.schemes:
            scheme.next_apply = self.now + self._apply_interval(scheme.spec)

    def idle(self) -> bool:
        """Whether nothing happens: paused, or every scheme held back by its watermarks."""
        active = [scheme.gate(self.host.free_mem_rate) for scheme in self.schemes]
        return self.spec.paused or (bool(active) and not any(active))

    def advance(self, until: int) -> None:
        """Run to time `until`; ends early when the last target dies."""
        while self.now < until and self.alive():
            if self.idle():
                self._skip(until - self.now)
                return
            due = [self.next_aggr, self.next_update, *(s.next_apply for s in self.schemes)]
            self.now = min(until, *due)
            self._tick()

    def _skip(self, elapsed: int) -> None:
        self.now += elapsed
        self.next_aggr += elapsed
        self.next_update += elapsed
        for scheme in self.schemes:
            scheme.next_apply += elapsed

    def _tick(self) -> None:
        aggregated = self.now >= self.next_aggr
        if aggregated:
            self._aggregate()
        self._apply()
        if aggregated:
            self.next_aggr = self.now + _rounded(self.attrs.aggr, self.attrs.sample)
        if self.now >= self.next_update:
            self.next_update = self.now + _rounded(self.attrs.update, self.attrs.sample)
            if self.spec.operations == "vaddr":
                for target in self.targets:
                    self._follow_mappings(target)

    def _follow_mappings(self, target: Target) -> None:
        mappings = self.host.mappings(target.pid) if target.pid is not None else ()
        areas = reg.three_regions(mappings, self.spec.unit)
        if areas:
            target.regions = reg.apply_ranges(target.regions, areas, self.spec.unit)

    # monitoring

    def _limit(self) -> int:
        total = sum(region.size for target in self.targets for region in target.regions)
        unit = self.spec.unit
        return -(-max(total // max(self.attrs.least, 1), unit) // unit) * unit

    def _enforce_least(self) -> None:
        if self.rules.strict_min_regions:
            limit = self._limit()
            for target in self.targets:
                target.regions = reg.cut(target.regions, limit)

    def _aggregate(self) -> None:
        samples = max(self.attrs.aggr // max(self.attrs.sample, 1), 1)
        for target in self.targets:
            heat = self.host.heat(target.pid)
            edges = [edge for area in heat for edge in area]
            target.regions = reg.split_at(target.regions, edges, self.spec.unit)
            for region in target.regions:
                hot = any(low <= region.start and region.end <= high for low, high in heat)
                region.last, region.nr = region.nr, samples * hot
        self._age_and_merge(samples)
        self._enforce_least()

    def _age_and_merge(self, samples: int) -> None:
        everything = [region for target in self.targets for region in target.regions]
        threshold = max((region.nr for region in everything), default=0) // 10
        zero_crossing = self.rules.zero_crossing_resets_age
        for region in everything:
            reg.grow_older(region, threshold, zero_crossing=zero_crossing)
        limit = self._limit()
        while True:
            for target in self.targets:
                target.regions = reg.merge(target.regions, threshold, limit)
            count = sum(len(target.regions) for target in self.targets)
            if count <= self.attrs.most or threshold >= samples:
                return
            threshold = min(max(1, threshold * 2), samples)

    # schemes

    def _apply(self) -> None:
        due = [scheme for scheme in self.schemes if self.now >= scheme.next_apply]
        active = [scheme for scheme in due if scheme.active]
        setting = self.setting()
        for scheme in active:
            scheme.adjust(self.now, setting)
        tried: dict[int, list[Tried]] = {id(scheme): [] for scheme in due}
        for index, target in enumerate(self.targets):
            for scheme in active:
                tried[id(scheme)] += self._walk(scheme, index, target, setting)
        for scheme in due:
            scheme.next_apply = self.now + self._apply_interval(scheme.spec)
            if self.walks is not None:
                # By identity: a policy's scheme may be the like of the census.
                number = next(i for i, one in enumerate(self.schemes) if one is scheme)
                self.walks.setdefault(number, tried[id(scheme)])

    def _walk(self, scheme: Scheme, index: int, target: Target, setting: Setting) -> list[Tried]:
        walked: list[Region] = []
        tried: list[Tried] = []
        for region in target.regions:
            pieces, acted = scheme.apply(index, region, setting)
            walked += pieces
            tried += acted
        target.regions = walked
        scheme.stats.nr_snapshots += bool(walked)
        return tried
