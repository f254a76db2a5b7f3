"""DAMON's loop over a page probe: adaptive regions, one random page of each per sampling interval.

The order within a tick is the kernel's (kdamond_fn, 7.3): check, merge and age at the end of a
window, apply schemes, tune, begin a new window, split. Only then pages are armed anew, so that
what actions and walks take never counts as time in which somebody could have accessed something.
"""

from __future__ import annotations

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
from damos_agent.model.userspace import Work
from damos_agent.userspace.areas import read_areas
from damos_agent.userspace.context import Context, Target, Tools, thread_ns
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.governor import Wanted
from damos_agent.userspace.probe import PageProbe, PageSampler
from damos_agent.userspace.settings import page_intervals, region_bounds

_UPDATE_SHARE = 4
"""Reading memory maps may take one part in so many of the monitor's time."""


class PageContext(Context):
    """`tick` counts sampling intervals since the start."""

    def __init__(self, work: Work, probe: PageProbe, tools: Tools) -> None:
        self._probe = probe
        self._armed: list[Target] = []
        self._tick = 0
        self._window_end = 0
        self._update_us = 0
        self._previous_count = 0
        self._rotation = 0
        self._size_limit = PAGE_BYTES
        self._ticked_us: int | None = None
        super().__init__(work, probe.info, page_intervals(work.policy.monitoring), tools)
        self._samples = self.intervals.samples
        self._window_end = self._samples

    def wanted(self) -> Wanted:
        """See `Context`."""
        asked = page_intervals(self.policy.monitoring)
        least, most = region_bounds(self.policy.monitoring)
        return Wanted(asked.sample_us, asked.aggr_us, least, most)

    def open(self, process: Placement) -> PageSampler:
        """See `Context`."""
        self._update_us = 0  # whoever is new has no regions yet
        return self._probe.open(process)

    def change_intervals(self, new: Intervals) -> None:
        """See `Context`; begins a new window."""
        if new == self.intervals:
            return
        for target in self.targets.values():
            rescale(target.regions, self.intervals, new, at_boundary=False)
        self.intervals = new
        self._window_end = self._tick + new.samples
        self.schemes.renew(self.policy, new)
        self.schemes.reschedule(self._tick)

    def work(self, now_us: int) -> None:
        """One sampling interval is over; the next one begins."""
        begun = thread_ns()
        if self._armed:
            self._check()
            self._tick += 1
        ended = self._tick >= self._window_end and bool(self._armed)
        if ended:
            self._merge()
        judged = thread_ns()
        if self._armed:
            left = left_bp(self._window_end - self._tick, self.intervals.samples)
            self.apply(now_us, self._tick, left, self._size_limit)
        resumed = thread_ns()
        if ended:
            self._begin_window()
        if now_us >= self._update_us:
            self._update(now_us)
        self._arm()
        spent = judged - begun + thread_ns() - resumed
        self._govern_tick(spent, now_us)

    def _check(self) -> None:
        for target in self._armed:
            sampler = target.sampler
            if self.targets.get(target.process) is not target:
                continue  # dropped since
            try:
                found = sampler.check()  # type: ignore[union-attr]  # page probes open these
            except ProcessLookupError:
                self.drop(target.process)
                continue
            for region, accessed in zip(target.regions, found, strict=True):
                if accessed:
                    region.nr_accesses += 1
                elif accessed is None:
                    region.unknown += 1
            target.seen = True

    def _arm(self) -> None:
        self._armed = []
        for target in tuple(self.targets.values()):
            if not target.regions:
                continue
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
        self._limit_sizes(everything)
        _, most = self._bounds()
        merged = merge_to_limit(
            everything,
            max_nr=most,
            threshold=self._max_nr(everything) // 10,
            samples=self.intervals.samples,
            size_limit=self._size_limit,
        )
        for target, regions in zip(targets, merged, strict=True):
            target.regions = enforce_min(regions, self._size_limit)
        self.keep_snapshot()

    def _begin_window(self) -> None:
        targets = list(self.targets.values())
        goal = self.policy.monitoring.intervals_goal
        new = self.intervals
        if goal is not None and self._tick // self._samples % max(goal.aggrs, 1) == 0:
            new = tune((t.regions for t in targets), self.intervals, goal, self._samples)
            floor = page_intervals(self.policy.monitoring)
            new = new if new.sample_us >= floor.sample_us else floor
        for target in targets:
            roll(target.regions)
        self._window_end = self._tick + self.intervals.samples
        self.change_intervals(self._affordable(new))
        self._split(targets)

    def _split(self, targets: list[Target]) -> None:
        _, most = self._bounds()
        count = sum(len(target.regions) for target in targets)
        found = split(
            [target.regions for target in targets],
            max_nr=most,
            min_unit=PAGE_BYTES,
            previous_count=self._previous_count,
            rotation=self._rotation,
            rng=self.tools.rng,
        )
        self._previous_count, self._rotation = count, self._rotation + 1
        for target, regions in zip(targets, found, strict=True):
            target.regions = regions

    def _update(self, now_us: int) -> None:
        """Follow the memory maps; what stays mapped keeps its history."""
        begun = thread_ns()
        _, most = self._bounds()
        ranges = max(3, most // 4 // max(len(self.targets), 1))
        for target in tuple(self.targets.values()):
            try:
                areas = read_areas(self.tools.fs, self.tools.roots, target.process.pid, ranges)
            except HostError as error:
                self.refuse(target.process, str(error))
                continue
            target.regions = fit(target.regions, areas, PAGE_BYTES)
        targets = list(self.targets.values())
        self._limit_sizes([target.regions for target in targets])
        if self._size_limit:
            for target in targets:
                target.regions = enforce_min(target.regions, self._size_limit)
        cost_us = (thread_ns() - begun) // 1_000
        budget_bp = max(self.policy.monitoring.userspace.cpu_bp, 1)
        affordable_us = cost_us * 10_000 // budget_bp * _UPDATE_SHARE
        self._update_us = now_us + max(self.policy.monitoring.update_us, affordable_us)

    def _limit_sizes(self, everything: list[list[Region]]) -> None:
        least, most = self._bounds()
        total = sum(region.size for regions in everything for region in regions)
        self._size_limit = size_limit(total, min(least, most), PAGE_BYTES)

    def _max_nr(self, everything: list[list[Region]]) -> int:
        return max((r.nr_accesses for regions in everything for r in regions), default=0)

    def _bounds(self) -> tuple[int, int]:
        """(min, max) numbers of regions within the budget."""
        least, _ = region_bounds(self.policy.monitoring)
        most = self.governor.effective.max_regions
        return min(least, most), most

    def _affordable(self, asked: Intervals) -> Intervals:
        effective = self.governor.effective
        if effective.sample_us <= asked.sample_us:
            return asked
        samples = max(effective.aggr_us // effective.sample_us, 1)
        return Intervals(effective.sample_us, effective.sample_us * samples)

    def _govern_tick(self, spent_ns: int, now_us: int) -> None:
        past_us = now_us - self._ticked_us if self._ticked_us is not None else 0
        self._ticked_us = now_us
        effective = self.governor.tick(spent_ns, past_us * 1_000)
        self.account(spent_ns, now_us)
        self.stretched, self.stretch_reason = effective.stretched, effective.reason
        # A window that became too dear is stretched at once, its counts at its end.
        self.due_us = now_us + max(self.intervals.sample_us, effective.sample_us)
