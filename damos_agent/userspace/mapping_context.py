"""Whole mappings, looked at once per aggregation: rates are shares of the bytes referenced.

Where a page probe draws random pages, the expectation of what it would find in a mapping is the
share of the mapping that was referenced. So counts and thresholds keep their meaning, and the
rules of `algo` apply; only merging and splitting do not: what lies inside is not known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from damos_agent.algo.attrs import rescale
from damos_agent.algo.lower import Intervals
from damos_agent.algo.merge import age_and_merge
from damos_agent.algo.pieces import carry, thin
from damos_agent.algo.region import Region
from damos_agent.algo.sampling import roll
from damos_agent.model.damon import Placement
from damos_agent.model.policy import Action, Mode, Monitoring
from damos_agent.model.userspace import Work
from damos_agent.userspace.context import Context, Tools
from damos_agent.userspace.governor import Wanted
from damos_agent.userspace.probe import MappingProbe, MappingSampler, MappingUse
from damos_agent.userspace.settings import MAPPING_SAMPLES, mapping_intervals
from damos_agent.userspace.watched import Target

_STRAY_BYTES: Final = 64 << 10
_STRAY_SHARE: Final = 1_000
"""Up to 64 KiB or a thousandth of a mapping may be referenced by chance: a lone lookup, a page
that reclaim or a debugger touched. It still counts as idle."""
_PIECES: Final = 16
_KEEP_EVERY: Final = 30
_KEEP_DOUBTED: Final = 3
"""In one round of so many nothing is cleared: what was accessed must still show in the next."""
_FORGOTTEN: Final = (
    "somebody else makes accesses forgotten (clear_refs, reclaim that ages this memory, or "
    "MADV_COLD): nothing counts as idle until a look finds that this has ended"
)
_WRITES_FORGOTTEN: Final = (
    "somebody else makes writes forgotten (clear_refs, as CRIU uses it): nothing counts as idle "
    "until a look finds that this has ended"
)
_LARGEST: Final = "of some processes only the largest mappings are watched: max_regions is too low"
_SLICE_NS: Final = 20_000_000
_SLICE_PAUSE: Final = 4
"""Many processes are walked in slices of 20 ms, with pauses of so many times that in between."""


class MappingContext(Context):
    """A round reads each process in turn, judges and acts, then clears each in turn.

    `_walks` are the processes whose turn in the first (`_reading`) or last part is still to come.
    """

    ticks = MAPPING_SAMPLES

    def __init__(self, work: Work, probe: MappingProbe, tools: Tools) -> None:
        self._probe = probe
        self._tick = 0
        self._walks: deque[Placement] = deque()
        self._reading = False
        self._round_ns = 0
        self._mean_ns = 0
        self._planned_us: int | None = None
        super().__init__(work, probe.info, mapping_intervals(work.policy.monitoring.aggr_us), tools)

    def wanted(self) -> Wanted:
        """See `Context`."""
        asked = mapping_intervals(self.policy.monitoring.aggr_us)
        most = self.policy.monitoring.max_regions
        return Wanted(asked.sample_us, asked.aggr_us, 1, most)

    def open(self, process: Placement) -> MappingSampler:
        """See `Context`."""
        return self._probe.open(process)

    def follow_monitoring(self, old: Monitoring) -> None:
        """See `Context`."""
        asked = mapping_intervals(self.policy.monitoring.aggr_us)
        if asked != mapping_intervals(old.aggr_us):
            self._change_intervals(asked)

    def rest(self) -> None:
        """See `Context`."""
        self._walks.clear()
        for target in self.targets.values():
            target.armed = False

    def work(self, now_us: int) -> None:
        """A slice of the round, or all of it where it is short."""
        if not self._walks:
            self._begin(reading=True)
        self._walk()
        if self._reading and not self._walks:
            self._judge(now_us)
            self._begin(reading=False)
            self._walk()

    def plan(self, spent_ns: int, now_us: int, debt_us: int) -> int:
        """See `Context`: until the next slice, or the next round, as soon as the budgets allow.

        Slices do not wait for the budget, lest what was read is stale when it is acted on.
        """
        self._round_ns += spent_ns
        if self._walks:
            return spent_ns * _SLICE_PAUSE // 1_000
        past_us = now_us - self._planned_us if self._planned_us is not None else 0
        self._planned_us = now_us
        self.governor.tick(0, past_us * 1_000)
        # A mean, so that one dear round does not stretch the next by itself.
        round_ns, self._round_ns = self._round_ns, 0
        self._mean_ns = (3 * self._mean_ns + round_ns) // 4 if self._mean_ns else round_ns
        asked_us = self.wanted().aggr_us
        planned = self.governor.plan_round(asked_us, self._mean_ns // 1_000, self.stall_us)
        self.stretched, self.stretch_reason = planned.interval_us / asked_us, planned.reason
        # In steps, so that ages are not counted anew at every round.
        now_aggr = self.intervals.aggr_us
        if planned.interval_us > now_aggr or planned.interval_us < now_aggr * 3 // 4:
            self._change_intervals(mapping_intervals(planned.interval_us))
        return max(self.intervals.aggr_us, debt_us)

    def _begin(self, *, reading: bool) -> None:
        self._reading = reading
        every = self.targets.values()
        self._walks.extend(t.process for t in every if t.armed or not reading)
        if reading:
            self.notes.clear()
            # Only what is read in this round is evidence: the rest was rolled, and looks idle.
            for target in every:
                target.seen = False
        else:
            self.stall_us = 0

    def _walk(self) -> None:
        """As many processes as fit into a slice."""
        step: Callable[[Target], None] = self._read if self._reading else self._clear
        end_ns = self.tools.cpu_ns() + _SLICE_NS
        while self._walks and self.tools.cpu_ns() < end_ns:
            target = self.targets.get(self._walks.popleft())
            if target is not None:
                step(target)

    def _judge(self, now_us: int) -> None:
        self._tick += MAPPING_SAMPLES
        if any(target.seen for target in self.targets.values()):
            self.keep_snapshot()
            self.apply(now_us, self._tick, 0, 0)
        for target in self.targets.values():
            roll(target.regions)

    def _read(self, target: Target) -> None:
        if not target.armed:
            return  # opened anew since
        target.armed = False
        sampler: MappingSampler = target.sampler  # type: ignore[assignment]  # of mapping probes
        known = sampler.foreign_clears
        try:
            uses = sampler.read()
        except ProcessLookupError:
            self.drop(target.process)
            return
        target.checks += 1
        if target.kept:
            target.doubted = sampler.foreign_clears > known
        most = max(self.policy.monitoring.max_regions // len(self.targets), 1)
        watched = largest(uses, most)
        self._tell(_LARGEST, watched, uses)
        counted = count(target.regions, watched)
        if target.kept:
            _keep_rates(counted)
        if target.doubted:
            self.notes[_WRITES_FORGOTTEN if self.info.sees == "w" else _FORGOTTEN] = None
            _doubt(counted)
        top = max((region.nr_accesses for region in counted), default=0)
        target.regions = age_and_merge(counted, top // 10, 0)
        target.seen = True

    def _tell(self, text: str, watched: Sequence[MappingUse], uses: Sequence[MappingUse]) -> None:
        if len(watched) < sum(bool(use.rss or use.swap) for use in uses):
            self.notes[text] = None

    def _clear(self, target: Target) -> None:
        every = _KEEP_DOUBTED if target.doubted else _KEEP_EVERY
        # Never twice running, and never before anything was seen.
        due = target.checks % every == every - 1 and not target.kept
        target.kept = due and not self._forgets_itself
        if target.kept:
            target.armed = True
            return
        target.armed = False
        stall_us = target.sampler.predicted_stall_us()  # type: ignore[union-attr]
        planned = self.governor.plan_round(self.wanted().aggr_us, 0, stall_us)
        if planned.refused:
            self.refuse(target.process, f"process {target.process.pid}: {planned.reason}")
            return
        self.stall_us = max(self.stall_us, stall_us)
        try:
            target.sampler.clear()  # type: ignore[union-attr]
        except ProcessLookupError:
            self.drop(target.process)
        else:
            target.armed = True

    @property
    def _forgets_itself(self) -> bool:
        """Whether our own actions clear what was accessed."""
        policy = self.policy
        acts = policy.mode is Mode.ENFORCE
        return acts and any(scheme.action is Action.COLD for scheme in policy.schemes)

    def _change_intervals(self, new: Intervals) -> None:
        """From the next round on; shares and ages stay."""
        if new == self.intervals:
            return
        for target in self.targets.values():
            rescale(target.regions, self.intervals, new, at_boundary=True)
        self.set_intervals(new)


def _keep_rates(regions: Iterable[Region]) -> None:
    """Two rounds were seen as one: what was in use before keeps its rate; idle is surely idle."""
    for region in regions:
        if region.nr_accesses and region.last_nr_accesses:
            region.nr_accesses = region.last_nr_accesses


def _doubt(regions: Iterable[Region]) -> None:
    for region in regions:
        if not region.nr_accesses:
            region.unknown = MAPPING_SAMPLES


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
            piece.unknown = 0 if piece.nr_accesses else unknown(use)
        found += pieces
    return found


def rate(use: MappingUse) -> int:
    """The share of the mapping that was referenced, 0 to `MAPPING_SAMPLES`."""
    if use.referenced <= max(_STRAY_BYTES, use.rss // _STRAY_SHARE) and use.referenced < use.rss:
        return 0
    if not use.rss:
        return 0
    return max(1, use.referenced * MAPPING_SAMPLES // use.rss)


def unknown(use: MappingUse) -> int:
    """Others who map the same pages may use them unseen: nobody can tell that they are idle."""
    return MAPPING_SAMPLES if use.shared * 2 >= use.rss > 0 else 0
