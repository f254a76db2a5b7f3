"""DAMON's loop over a page probe: adaptive regions, one random page of each per sampling interval.

The order within a tick is the kernel's (kdamond_fn, 7.3): check, merge and age at the end of a
window, apply schemes, tune, begin a new window, split. Only then pages are armed anew, so that
what actions and walks take never counts as time in which somebody could have accessed something.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from damos_agent.algo.attrs import rescale
from damos_agent.algo.fit import fit
from damos_agent.algo.lower import Intervals
from damos_agent.algo.merge import merge_to_limit, size_limit
from damos_agent.algo.region import Region
from damos_agent.algo.sampling import left_bp, pick, roll
from damos_agent.algo.split import enforce_min, split
from damos_agent.algo.tune import tune
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.model.policy import Monitoring
from damos_agent.model.userspace import Work
from damos_agent.userspace.areas import read_areas
from damos_agent.userspace.context import Context, Tools
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.governor import Wanted
from damos_agent.userspace.probe import PageProbe, PageSampler
from damos_agent.userspace.settings import affordable, page_intervals, region_bounds
from damos_agent.userspace.watched import Target

_RANGES: Final = 3
"""A process takes at least so many: around heap, mmap area and stack, as in DAMON."""
_UPDATE_SHARE: Final = 4
"""Reading memory maps may take one part in so many of the monitor's time."""


class PageContext(Context):
    """`tick` counts sampling intervals since the start."""

    per_target = _RANGES

    def __init__(self, work: Work, probe: PageProbe, tools: Tools) -> None:
        self._probe = probe
        # As the policy says, or as tuned since; what runs may be slower.
        self._asked = page_intervals(work.policy.monitoring)
        self._armed: list[Target] = []
        self._tick = 0
        self._windows = 0
        self._window_end = self._asked.samples
        self._update_us = 0
        self._update_bp = 0.0
        self._previous_count = 0
        self._size_limit = PAGE_BYTES
        self._ticked_us: int | None = None
        super().__init__(work, probe.info, self._asked, tools)

    def wanted(self) -> Wanted:
        """See `Context`."""
        asked = page_intervals(self.policy.monitoring)
        least, most = region_bounds(self.policy.monitoring)
        return Wanted(asked.sample_us, asked.aggr_us, least, most)

    def open(self, process: Placement) -> PageSampler:
        """See `Context`."""
        return self._probe.open(process)

    def follow_monitoring(self, old: Monitoring) -> None:
        """See `Context`; begins a new window, if there are others."""
        now = self.policy.monitoring
        asked = page_intervals(now)
        if asked != page_intervals(old) or now.intervals_goal != old.intervals_goal:
            self._asked = asked
            self._change_intervals(asked)

    def rest(self) -> None:
        """See `Context`."""
        self._armed = []

    def work(self, now_us: int) -> None:
        """One sampling interval is over; the next one begins."""
        if self._armed:
            self._check()
            self._tick += 1
        ended = self._tick >= self._window_end and bool(self._armed)
        if ended:
            self._merge()
        if self._armed:
            left = left_bp(self._window_end - self._tick, self.intervals.samples)
            self.apply(now_us, self._tick, left, self._size_limit)
        if ended:
            self._begin_window()
        self._update(now_us)
        self._arm()

    def plan(self, spent_ns: int, now_us: int, debt_us: int) -> int:
        """See `Context`. What became too dear is stretched at once, its counts at its end."""
        past_us = now_us - self._ticked_us if self._ticked_us is not None else 0
        self._ticked_us = now_us
        # Readings of maps come rarely: each tick bears its part.
        spent_ns += int(self._update_bp * self.governor.effective.sample_us / 10)
        effective = self.governor.tick(spent_ns, past_us * 1_000)
        self.stretched, self.stretch_reason = effective.stretched, effective.reason
        return max(self.intervals.sample_us, effective.sample_us, debt_us)

    def _check(self) -> None:
        for target in self._armed:
            if self.targets.get(target.process) is not target:
                continue  # dropped since
            try:
                found = target.sampler.check()  # type: ignore[union-attr]  # page probes open these
            except ProcessLookupError:
                self.drop(target.process)
                continue
            for region, accessed in zip(target.regions, found, strict=True):
                if accessed:
                    region.nr_accesses += 1
                elif accessed is None:
                    region.unknown += 1
            target.checks += 1

    def _arm(self) -> None:
        self._armed = []
        for target in tuple(self.targets.values()):
            try:
                addresses = pick(target.regions, self.tools.rng, PAGE_BYTES)
                target.sampler.arm(addresses)  # type: ignore[union-attr]
            except ProcessLookupError:
                self.drop(target.process)
            else:
                self._armed.append(target)

    def _merge(self) -> None:
        targets = list(self.targets.values())
        everything = [target.regions for target in targets]
        self._limit_sizes()
        _, most = self._bounds()
        merged = merge_to_limit(
            everything,
            max_nr=most,
            threshold=max((r.nr_accesses for some in everything for r in some), default=0) // 10,
            samples=self.intervals.samples,
            size_limit=self._size_limit,
        )
        for target, regions in zip(targets, merged, strict=True):
            target.regions = enforce_min(regions, self._size_limit)
            target.seen |= target.checks >= self.intervals.samples
        self.keep_snapshot()

    def _begin_window(self) -> None:
        targets = list(self.targets.values())
        self._windows += 1
        self._tune()
        for target in targets:
            roll(target.regions)
        self._window_end = self._tick + self.intervals.samples
        self._change_intervals(affordable(self._asked, self.intervals, self.governor.effective))
        self._split(targets)

    def _tune(self) -> None:
        """Anew from what was asked or tuned, not from what the budget has made of it."""
        goal, asked = self.policy.monitoring.intervals_goal, self._asked
        if goal is None or self._windows % max(goal.aggrs, 1):
            return
        regions = (target.regions for target in self.targets.values())
        tuned = tune(regions, asked, goal, self.intervals.samples)
        floor = page_intervals(self.policy.monitoring)
        sample_us = max(tuned.sample_us, floor.sample_us)
        self._asked = Intervals(sample_us, sample_us * floor.samples)

    def _change_intervals(self, new: Intervals) -> None:
        """Begin a new window with these; shares and ages stay."""
        if new == self.intervals:
            return
        for target in self.targets.values():
            rescale(target.regions, self.intervals, new, at_boundary=False)
        self._window_end = self._tick + new.samples
        self.set_intervals(new)

    def _split(self, targets: list[Target]) -> None:
        _, most = self._bounds()
        found = split(
            [target.regions for target in targets],
            max_nr=most,
            min_unit=PAGE_BYTES,
            previous_count=self._previous_count,
            rotation=self._windows,
            rng=self.tools.rng,
        )
        self._previous_count = sum(len(target.regions) for target in targets)
        for target, regions in zip(targets, found, strict=True):
            target.regions = regions

    def _update(self, now_us: int) -> None:
        """Follow the memory maps: those of processes that are new at once, all now and then."""
        begun = self.tools.cpu_ns()
        if now_us >= self._update_us:
            self._read_maps(tuple(self.targets.values()))
            cost_us = (self.tools.cpu_ns() - begun) / 1_000
            budget_bp = max(self.policy.monitoring.userspace.cpu_bp, 1)
            affordable_us = int(cost_us * 10_000 / budget_bp * _UPDATE_SHARE)
            wait_us = max(self.policy.monitoring.update_us, affordable_us)
            self._update_us, self._update_bp = now_us + wait_us, cost_us * 10_000 / wait_us
        elif new := [target for target in self.targets.values() if not target.regions]:
            self._read_maps(new)
        self.odd_ns += self.tools.cpu_ns() - begun

    def _read_maps(self, targets: Iterable[Target]) -> None:
        _, most = self._bounds()
        ranges = max(_RANGES, most // 4 // max(len(self.targets), 1))
        for target in targets:
            process = target.process
            try:
                areas = read_areas(self.tools.fs, self.tools.roots, process.pid, ranges)
            except HostError as error:
                self.refuse(process, str(error))
                continue
            if not areas:
                self.refuse(process, "")  # it is ending, or a kernel thread
                continue
            fitted = fit(target.regions, areas, PAGE_BYTES)
            self._mark_unknown(fitted, target.regions)
            target.regions = fitted
        self._limit_sizes()
        for target in self.targets.values():
            target.regions = enforce_min(target.regions, self._size_limit)

    def _mark_unknown(self, fitted: list[Region], known: list[Region]) -> None:
        """Memory that came between is not idle: what of the window is over, nobody can tell."""
        old = {id(region) for region in known}
        samples = self.intervals.samples
        for region in fitted:
            if id(region) not in old:
                region.unknown = samples - (self._window_end - self._tick)
                region.last_unknown = samples

    def _limit_sizes(self) -> None:
        least, most = self._bounds()
        total = sum(r.size for target in self.targets.values() for r in target.regions)
        self._size_limit = size_limit(total, min(least, most), PAGE_BYTES)

    def _bounds(self) -> tuple[int, int]:
        """(min, max) numbers of regions within the budget."""
        least, _ = region_bounds(self.policy.monitoring)
        most = self.governor.effective.max_regions
        return min(least, most), most
