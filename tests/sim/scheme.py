"""A running scheme: its counters, its quota, and how it applies to regions (algorithms §7, §9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.sim.parse import ULONG_MAX
from tests.sim.regions import Region, split_at
from tests.sim.staged import FilterSpec, GoalSpec, SchemeSpec
from tests.sim.versions import PADDR_ACTIONS, VADDR_ACTIONS, Behaviour, Version, known

UNTIMED_BYTES_PER_MS = 4 << 20
FLOOR = 10000


@dataclass(slots=True)
class Stats:
    """The cumulative counters, named as their files."""

    nr_tried: int = 0
    sz_tried: int = 0
    nr_applied: int = 0
    sz_applied: int = 0
    qt_exceeds: int = 0
    sz_ops_filter_passed: int = 0
    nr_snapshots: int = 0


@dataclass(slots=True)
class Charge:
    """The quota's memory: window start (µs, None before the first), charged and effective bytes."""

    start: int | None = None
    charged: int = 0
    effective: int = 0
    goal_bp: int = 0


@dataclass(frozen=True, slots=True)
class Tried:
    """A tried region as `tried_regions` shows it."""

    start: int
    end: int
    nr_accesses: int
    age: int
    sz_filter_passed: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scheme needs to know of its context; `measure`: a goal metric's current value."""

    operations: str
    unit: int
    version: Version
    rules: Behaviour
    measure: Callable[[str], int]


def feed_back(last: int, score: int) -> int:
    """The next goal-driven size (in 1/10000 bytes) after `score` (10000: goal exactly met)."""
    if score >= 2 * FLOOR:
        return FLOOR
    change = last * abs(score - FLOOR) // FLOOR
    if score > FLOOR:
        return max(last - change, FLOOR)
    return min(last + change, ULONG_MAX)


@dataclass(slots=True)
class Scheme:
    """State that survives commits, with the specification that does not."""

    spec: SchemeSpec
    next_apply: int
    stats: Stats = field(default_factory=Stats)
    charge: Charge = field(default_factory=Charge)
    active: bool = True

    def gate(self, free_mem_rate: int) -> bool:
        """Evaluate the watermarks and return whether the scheme is active."""
        metric, high, mid, low = self.spec.marks
        if metric == "none":
            self.active = True
        elif free_mem_rate > high or free_mem_rate < low:
            self.active = False
        elif self.active or free_mem_rate < mid:
            self.active = True
        return self.active

    def adjust(self, now: int, setting: Setting) -> None:
        """Start a new charge window where the old one has passed."""
        quota, charge = self.spec.quota, self.charge
        if not quota.limited:
            return
        if charge.start is None:
            charge.start = now
            if setting.rules.first_window_limited:
                self._set_effective(setting)
            return
        if now < charge.start + quota.reset:
            return
        self.stats.qt_exceeds += self._full(setting)
        charge.charged, charge.start = 0, now
        self._set_effective(setting)

    def _set_effective(self, setting: Setting) -> None:
        quota = self.spec.quota
        if not quota.ms and not quota.goals:
            self.charge.effective = quota.size
            return
        size = ULONG_MAX
        if quota.goals:
            self.charge.goal_bp = self._tuned(setting)
            size = self.charge.goal_bp // FLOOR
        if quota.ms:
            size = min(size, max(UNTIMED_BYTES_PER_MS * quota.ms, setting.unit))
        self.charge.effective = min(size, quota.size) if quota.size else size

    def _tuned(self, setting: Setting) -> int:
        quota = self.spec.quota
        score = max(_score(goal, setting) for goal in quota.goals)
        if quota.tuner == "consist":
            return feed_back(max(self.charge.goal_bp, FLOOR), score)
        if score >= FLOOR:
            return 0
        return quota.size * FLOOR if 0 < quota.size <= ULONG_MAX // FLOOR else ULONG_MAX

    def _guarded(self, setting: Setting) -> bool:
        """Whether an effective quota is in force (0 means unlimited before 7.2.9)."""
        if not self.spec.quota.limited or self.charge.start is None:
            return False
        return bool(self.charge.effective) or setting.rules.zero_quota_stops

    def _full(self, setting: Setting) -> bool:
        left = self.charge.effective - self.charge.charged
        return self._guarded(setting) and left < setting.unit

    def _within(self, region: Region) -> bool:
        spec = self.spec
        pairs = ((spec.size, region.size), (spec.accesses, region.nr), (spec.age, region.age))
        return all(low <= value <= high for (low, high), value in pairs)

    def apply(
        self, target: int, region: Region, setting: Setting
    ) -> tuple[list[Region], list[Tried]]:
        """Try `region`: its pieces afterwards, and what was tried of it."""
        pieces: list[Region] = []
        tried: list[Tried] = []
        for piece, allowed in filtered(self.spec.core, target, region, setting):
            left, rest = piece, None
            if allowed and self._within(piece) and not self._done(setting):
                left, rest = self._affordable(piece, setting)
                tried.append(self._act(left, setting))
            pieces += [left] if rest is None else [left, rest]
        return pieces, tried

    def _done(self, setting: Setting) -> bool:
        limit = self.spec.max_snapshots
        return self._full(setting) or (0 < limit <= self.stats.nr_snapshots)

    def _affordable(self, region: Region, setting: Setting) -> tuple[Region, Region | None]:
        left = self.charge.effective - self.charge.charged
        if not self._guarded(setting) or region.size <= left:
            return region, None
        edge = region.start + left // setting.unit * setting.unit
        return replace(region, end=edge), replace(region, start=edge)

    def _act(self, region: Region, setting: Setting) -> Tried:
        table = PADDR_ACTIONS if setting.operations == "paddr" else VADDR_ACTIONS
        spec, stats = self.spec, self.stats
        works = spec.action in known(table, setting.version)
        filters_work = setting.operations == "paddr" or spec.action.startswith("migrate_")
        passed = region.size if filters_work and (works or spec.ops_filters) else 0
        shown = Tried(region.start, region.end, region.nr, region.age, passed)
        stats.nr_tried += 1
        stats.sz_tried += region.size
        stats.nr_applied += works
        stats.sz_applied += region.size * works
        stats.sz_ops_filter_passed += passed
        self.charge.charged += region.size if spec.quota.limited else 0
        if spec.action != "stat":
            region.age = 0
        return shown


def _score(goal: GoalSpec, setting: Setting) -> int:
    current = goal.current if goal.metric == "user_input" else setting.measure(goal.metric)
    return current * FLOOR // goal.target


def _edges(filters: tuple[FilterSpec, ...], unit: int) -> list[int]:
    return [edge // unit * unit for item in filters if item.kind == "addr" for edge in item.area]


def _accepted(
    filters: tuple[FilterSpec, ...], target: int, region: Region, setting: Setting
) -> bool:
    for item in filters:
        low, high = (edge // setting.unit * setting.unit for edge in item.area)
        inside = low <= region.start and region.end <= high
        if (target == item.target if item.kind == "target" else inside) == item.matching:
            return item.allow
    return not (filters and setting.version >= (6, 15) and filters[-1].allow)


def filtered(
    filters: tuple[FilterSpec, ...], target: int, region: Region, setting: Setting
) -> list[tuple[Region, bool]]:
    """`region` cut at the edges of address filters, each piece with the core layer's verdict."""
    pieces = split_at([region], _edges(filters, setting.unit), setting.unit)
    return [(piece, _accepted(filters, target, piece, setting)) for piece in pieces]
