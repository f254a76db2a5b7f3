"""Whole mappings, looked at once per aggregation: rates are shares of the bytes referenced.

Where a page probe draws random pages, the expectation of what it would find in a mapping is the
share of the mapping that was referenced. So counts and thresholds keep their meaning, and the
rules of `algo` apply; only merging and splitting do not: what lies inside is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from damos_agent.algo.attrs import rescale
from damos_agent.algo.lower import Intervals
from damos_agent.algo.merge import age_and_merge
from damos_agent.algo.pieces import carry, thin
from damos_agent.algo.region import Region
from damos_agent.algo.sampling import roll
from damos_agent.model.damon import Placement
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.userspace import Work
from damos_agent.userspace.context import Context, Target, Tools, thread_ns
from damos_agent.userspace.governor import Wanted
from damos_agent.userspace.probe import MappingProbe, MappingSampler, MappingUse
from damos_agent.userspace.settings import MAPPING_SAMPLES, mapping_intervals
from damos_agent.userspace.untouchable import is_virtual_machine

_STRAY_BYTES: Final = 64 << 10
_STRAY_SHARE: Final = 1_000
"""Up to 64 KiB or a thousandth of a mapping may be referenced by chance: a lone lookup, a page
that reclaim or a debugger touched. It still counts as idle."""
_PIECES: Final = 16


class MappingContext(Context):
    """One round looks at each process in turn; `_pending` are those still to come."""

    def __init__(self, work: Work, probe: MappingProbe, tools: Tools) -> None:
        self._probe = probe
        self._tick = 0
        self._round_us = 0
        self._spent_ns = 0
        self._cleared: set[Placement] = set()
        super().__init__(work, probe.info, mapping_intervals(work.policy.monitoring.aggr_us), tools)

    def wanted(self) -> Wanted:
        """See `Context`."""
        asked = mapping_intervals(self.policy.monitoring.aggr_us)
        most = self.policy.monitoring.max_regions
        return Wanted(asked.sample_us, asked.aggr_us, 1, most)

    def open(self, process: Placement) -> MappingSampler:
        """See `Context`."""
        if is_virtual_machine(self.tools.fs, self.tools.roots, process.pid):
            raise UnsupportedError(
                f"process {process.pid} runs a virtual machine, whose accesses this probe is "
                "blind for",
                hint="monitor the guest from inside, or use a kernel with DAMON",
            )
        return self._probe.open(process)

    def change_intervals(self, new: Intervals) -> None:
        """See `Context`."""
        if new == self.intervals:
            return
        for target in self.targets.values():
            rescale(target.regions, self.intervals, new, at_boundary=True)
        self.intervals = new
        self.schemes.renew(self.policy, new)
        self.gate.book.limits = replace(self.gate.book.limits, wait_us=new.aggr_us)

    def work(self, now_us: int) -> None:
        """The round is over: read what was referenced, judge, act, clear."""
        begun = thread_ns()
        for target in tuple(self.targets.values()):
            if target.process in self._cleared:
                self._read(target)
        self._tick += MAPPING_SAMPLES
        if any(target.seen for target in self.targets.values()):
            self.keep_snapshot()
            judged = thread_ns()
            self.apply(now_us, self._tick, 0, 0)
            begun += thread_ns() - judged
            for target in self.targets.values():
                roll(target.regions)
        self.stall_us = 0
        for target in tuple(self.targets.values()):
            self._clear(target)
        self._plan(thread_ns() - begun, now_us)

    def _read(self, target: Target) -> None:
        try:
            uses = target.sampler.read()  # type: ignore[union-attr]  # mapping probes open these
        except ProcessLookupError:
            self.drop(target.process)
            return
        self.stall_us = max(self.stall_us, target.sampler.predicted_stall_us())  # type: ignore[union-attr]
        most = self.governor.effective.max_regions // max(len(self.targets), 1)
        watched = largest(uses, max(most, 1))
        if len(watched) == most < sum(bool(use.rss or use.swap) for use in uses):
            self.notes[f"only the {most} largest mappings of a process are watched"] = None
        counted = count(target.regions, watched)
        top = max((region.nr_accesses for region in counted), default=0)
        target.regions = age_and_merge(counted, top // 10, 0)
        target.seen = True

    def _clear(self, target: Target) -> None:
        self._cleared.discard(target.process)
        stall_us = target.sampler.predicted_stall_us()  # type: ignore[union-attr]
        plan = self.governor.plan_round(self.wanted().aggr_us, 0, stall_us)
        if plan.refused:
            self.refuse(target.process, f"process {target.process.pid}: {plan.reason}")
            return
        self.stall_us = max(self.stall_us, stall_us)
        try:
            target.sampler.clear()  # type: ignore[union-attr]
        except ProcessLookupError:
            self.drop(target.process)
        else:
            self._cleared.add(target.process)

    def _plan(self, spent_ns: int, now_us: int) -> None:
        """The next round, as soon as the budgets allow."""
        past_us = now_us - self._round_us if self._round_us else 0
        self._round_us = now_us
        self.governor.tick(0, past_us * 1_000)
        self.account(spent_ns, now_us)
        # A mean, so that one dear round does not stretch the next by itself.
        self._spent_ns = (3 * self._spent_ns + spent_ns) // 4 if self._spent_ns else spent_ns
        asked_us = self.wanted().aggr_us
        plan = self.governor.plan_round(asked_us, self._spent_ns // 1_000, self.stall_us)
        self.stretched = plan.interval_us / asked_us
        self.stretch_reason = plan.reason
        # In steps, so that ages are not counted anew at every round.
        now_aggr = self.intervals.aggr_us
        if plan.interval_us > now_aggr or plan.interval_us < now_aggr * 3 // 4:
            self.change_intervals(mapping_intervals(plan.interval_us))
        self.due_us = now_us + self.intervals.aggr_us


def largest(uses: Sequence[MappingUse], most: int) -> tuple[MappingUse, ...]:
    """Those with anything in them, and of these the largest `most`, ascending."""
    filled = [use for use in uses if use.rss or use.swap]
    if len(filled) > most:
        by_size = sorted(filled, key=lambda use: use.rss + use.swap, reverse=True)[:most]
        filled = sorted(by_size, key=lambda use: use.start)
    return tuple(filled)


def count(regions: Sequence[Region], uses: Iterable[MappingUse]) -> list[Region]:
    """The regions of these mappings, with what was seen of them in the round.

    A quota may have cut a mapping into pieces; all of them get its rate. What is swapped out was
    not accessed.
    """
    found: list[Region] = []
    position = 0
    for use in uses:
        while position < len(regions) and regions[position].end <= use.start:
            position += 1
        pieces = thin(carry(regions, position, use.start, use.end), _PIECES)
        for piece in pieces:
            piece.nr_accesses = rate(use)
        found += pieces
    return found


def rate(use: MappingUse) -> int:
    """The share of the mapping that was referenced, 0 to `MAPPING_SAMPLES`."""
    if use.referenced <= max(_STRAY_BYTES, use.rss // _STRAY_SHARE) and use.referenced < use.rss:
        return 0
    if not use.rss:
        return 0
    return max(1, use.referenced * MAPPING_SAMPLES // use.rss)
