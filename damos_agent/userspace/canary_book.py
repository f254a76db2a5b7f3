"""Which memory has proved to be cold: the book of canaries sent, by address. Pure.

A few random pages of a range, a *trial*, are paged out first. Those that come back tell what
paging out the rest would cost. Everything is kept by address interval, not by region, so that
regions may be split and merged meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from damos_agent.algo.backoff import doubled_us
from damos_agent.algo.ranges import intersect, subtract, total_bytes, union
from damos_agent.model.damon import Placement
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.canary_state import (
    JUDGED,
    CanaryLimits,
    CanaryStats,
    Mark,
    State,
    Trial,
)
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.intervals import IntervalMap

_BP: Final = 10_000
_PRUNE_EVERY: Final = 256
_RENEWALS: Final = 4

Ranges: TypeAlias = Iterable[AddressRange]


@dataclass(slots=True)
class CanaryBook:
    """The book. Times are µs of the caller's clock, which only ever grows."""

    limits: CanaryLimits
    stats: CanaryStats = field(default_factory=CanaryStats)
    _marks: dict[Placement, IntervalMap[Mark]] = field(default_factory=dict)
    _credit: float = 0.0
    _credit_at_us: int = -1
    _puts: int = 0

    def __len__(self) -> int:
        return sum(len(marks) for marks in self._marks.values())

    def trials(self, process: Placement, ranges: Ranges, now_us: int) -> tuple[Trial, ...]:
        """Trials about memory in `ranges` to look at now, for the first time or again."""
        found: dict[Trial, None] = {}
        for _, mark in self._holding(process, ranges, now_us):
            if mark.state in JUDGED and now_us - mark.trial.at_us >= self.limits.wait_us:
                found[mark.trial] = None
        return tuple(found)

    def find(
        self, process: Placement, ranges: Ranges, state: State, now_us: int
    ) -> tuple[AddressRange, ...]:
        """The parts of `ranges` that are in that state."""
        wanted = tuple(ranges)
        held = self._holding(process, wanted, now_us)
        return intersect(wanted, [where for where, mark in held if mark.state is state])

    def unknown(self, process: Placement, ranges: Ranges, now_us: int) -> tuple[AddressRange, ...]:
        """The parts of `ranges` about which nothing is known, or no longer."""
        wanted = tuple(ranges)
        return subtract(wanted, [where for where, _ in self._holding(process, wanted, now_us)])

    def in_flight(self, now_us: int) -> int:
        """Pages of canaries that were sent and are not judged yet."""
        every = (mark for marks in self._marks.values() for _, mark in marks)
        pending = (one for one in every if one.state is State.PENDING)
        return sum(map(_pages, {one.trial for one in pending if now_us < self._until_us(one)}))

    def allowance(self, now_us: int) -> int:
        """Pages that may be sent now, to all processes together; ≤ 0: none yet."""
        rate = self.limits.pages_per_s
        since = now_us - self._credit_at_us if self._credit_at_us >= 0 else 1_000_000
        self._credit = min(self._credit + since * rate / 1_000_000, float(rate))
        self._credit_at_us = now_us
        return int(self._credit)

    def send(
        self, process: Placement, ranges: Ranges, units: Iterable[tuple[int, ...]], now_us: int
    ) -> Trial:
        """Canaries have been paged out for these ranges. Huge ones may put the rate into debt."""
        trial = self._trial(process, ranges, tuple(units), now_us)
        pages = sum(len(unit) for unit in trial.units)
        self.stats.sent += pages
        self.stats.last_reason = ""  # of what stays while the rest goes nobody wants to hear
        self._credit -= pages
        self._put(process, trial.ranges, Mark(State.PENDING, now_us, trial))
        return trial

    def judge(self, process: Placement, trial: Trial, back: int, now_us: int) -> bool:
        """`back` units of the trial are in memory again. True if what it stands for is cleared."""
        mine = [
            (where, mark)
            for where, mark in self._of(process).overlapping(trial.ranges)
            if mark.trial is trial and mark.state in JUDGED
        ]
        if back * _BP <= self.limits.back_bp * len(trial.units):
            fresh_us = now_us - self.limits.evidence_us // _RENEWALS
            for where, mark in mine:
                # What has stayed away until now is evidence of now.
                if mark.state is State.PENDING or mark.since_us < fresh_us:
                    self._put(process, (where,), Mark(State.CLEARED, now_us, trial))
            return True
        spared = [where for where, _ in mine]
        self.stats.came_back += back
        self.stats.back_pages += back * _pages(trial) // max(len(trial.units), 1)
        self.stats.cancelled_bytes += total_bytes(spared)
        self._block(process, spared, trial, now_us)
        return False

    def no_effect(self, process: Placement, ranges: Ranges, reason: str, now_us: int) -> None:
        """Nothing could be paged out there, for `reason`: not to be tried for a while."""
        self.stats.no_effect += 1
        self.stats.last_reason = reason
        wanted = tuple(ranges)
        self._block(process, wanted, self._trial(process, wanted, (), now_us), now_us)

    def done(self, process: Placement, ranges: Ranges) -> None:
        """What of these ranges was cleared has been paged out."""
        wanted = tuple(ranges)
        for where, mark in self._of(process).overlapping(wanted):
            if mark.state is State.CLEARED:
                parts = intersect(wanted, (where,))
                self._put(process, parts, replace(mark, state=State.DONE))

    def canaried(self, process: Placement, ranges: Ranges) -> int:
        """Bytes of `ranges` that went as canaries of what is cleared now."""
        wanted = tuple(ranges)
        held = self._of(process).overlapping(wanted)
        trials = {mark.trial for _, mark in held if mark.state is State.CLEARED}
        units = (unit for trial in trials for unit in trial.units)
        went = (AddressRange(unit[0], unit[-1] + PAGE_BYTES) for unit in units)
        return total_bytes(intersect(wanted, went))

    def forget(self, process: Placement) -> None:
        """The process has gone, or has new memory."""
        self._marks.pop(process, None)

    def _trial(
        self, process: Placement, ranges: Ranges, units: tuple[tuple[int, ...], ...], now_us: int
    ) -> Trial:
        wanted = union(ranges)
        known = self._of(process).overlapping(wanted)
        failures = [m.trial.failures for _, m in known if now_us < self._forgotten_us(m)]
        return Trial(wanted, units, now_us, max(failures, default=0))

    def _block(self, process: Placement, ranges: Ranges, trial: Trial, now_us: int) -> None:
        limits = self.limits
        wait = doubled_us(limits.backoff_us, trial.failures, limits.backoff_max_us)
        after = replace(trial, units=(), failures=trial.failures + 1)
        self._put(process, ranges, Mark(State.BLOCKED, now_us, after, now_us + wait))

    def _put(self, process: Placement, ranges: Ranges, mark: Mark) -> None:
        self._puts += 1
        if self._puts % _PRUNE_EVERY == 0:
            for marks in self._marks.values():
                marks.drop(lambda old: mark.since_us >= self._forgotten_us(old))
        self._marks.setdefault(process, IntervalMap()).put(ranges, mark)

    def _of(self, process: Placement) -> IntervalMap[Mark]:
        return self._marks.get(process) or IntervalMap()

    def _holding(
        self, process: Placement, ranges: Ranges, now_us: int
    ) -> list[tuple[AddressRange, Mark]]:
        held = self._of(process).overlapping(ranges)
        return [(where, mark) for where, mark in held if now_us < self._until_us(mark)]

    def _until_us(self, mark: Mark) -> int:
        """How long the mark holds. An unlooked-at trial is worth as much as a judged one."""
        if mark.state is State.BLOCKED:
            return mark.until_us
        wait = self.limits.wait_us if mark.state is State.PENDING else 0
        return mark.since_us + wait + self.limits.evidence_us

    def _forgotten_us(self, mark: Mark) -> int:
        """Back-offs are remembered for as long again, so that the next one is longer."""
        wait = mark.until_us - mark.since_us if mark.state is State.BLOCKED else 0
        return self._until_us(mark) + wait + (self.limits.evidence_us if wait else 0)


def _pages(trial: Trial) -> int:
    return sum(map(len, trial.units))
