"""One action on one region, in pieces: the pauses between them, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from damos_agent.host.madvise import Advice, plan_calls
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.actions import Way
from damos_agent.userspace.effect import PAGE_BYTES, Residency
from damos_agent.userspace.handle import Effects, Handle

FUTILE_PIECES: Final = 4
"""So many pieces in a row without any effect end the turn: swap space has run out."""


@dataclass(slots=True)
class Turn:
    """The time until `deadline_ns`, and bytes `applied` so far. `slept_ns` is no work. `room`: it
    ends after so many bytes. `time_ns`: it ends when so much time has been taken.

    `sent`: bytes applied as canaries. `repeated`: bytes of `finished` that had gone before, as
    canaries, and `done`: of the region, what had been finished before, and was counted then, or
    must not be touched. `until` and `begun`: see `Applied`. `run_ns`: time taken by the action
    itself.
    `unfinished`: the deadline came first; `futile`: pieces that changed nothing, in a row.
    """

    effects: Effects
    deadline_ns: int
    began_ns: int
    room: int | None = None
    time_ns: int | None = None
    applied: int = 0
    slept_ns: int = 0
    repeated: int = 0
    done: int = 0
    sent: int = 0
    until: int = 0
    begun: bool = False
    run_ns: int = 0
    unfinished: bool = False
    futile: int = 0
    finished: list[AddressRange] = field(default_factory=list)

    @property
    def took_ns(self) -> int:
        """Time since the turn began, without pauses."""
        return self.effects.clock_ns() - self.began_ns - self.slept_ns

    def over(self) -> bool:
        """Whether the deadline has passed, or its time is used up."""
        late = self.time_ns is not None and self.took_ns >= self.time_ns
        return late or self.effects.clock_ns() >= self.deadline_ns

    @property
    def full(self) -> bool:
        """Whether all its room is used up."""
        return self.room is not None and self.applied >= self.room

    def pause(self, worked_ns: int) -> None:
        """Let the process have its mmap lock for as long as we had it."""
        begin = self.effects.clock_ns()
        if worked_ns > 0 and begin < self.deadline_ns:
            self.effects.sleep(worked_ns / 1e9)
            self.slept_ns += self.effects.clock_ns() - begin


def run(turn: Turn, handle: Handle, way: Way, ranges: Sequence[AddressRange]) -> None:
    """Advise the ranges piece by piece, until done, futile or over."""
    begun_ns = turn.took_ns
    try:
        _run(turn, handle, way, ranges)
    finally:
        turn.run_ns += turn.took_ns - begun_ns


def _run(turn: Turn, handle: Handle, way: Way, ranges: Sequence[AddressRange]) -> None:
    most = way.call_bytes
    if turn.room is not None:
        most = min(most, max(turn.room // PAGE_BYTES, 1) * PAGE_BYTES)
    for piece in plan_calls(ranges, most):
        if turn.over() or turn.full:
            turn.unfinished = True
            return
        if turn.futile >= FUTILE_PIECES:
            return
        _do_piece(turn, handle, way.advice, piece)
        turn.finished.extend(piece)


def _do_piece(turn: Turn, handle: Handle, advice: Advice, piece: Sequence[AddressRange]) -> None:
    begin = turn.effects.clock_ns()
    # Also the proof that the process still has the memory that was monitored.
    before = measure(handle, piece)
    if not _worth(advice, before):
        return
    advised = turn.effects.advise(handle.pidfd, advice, piece)
    if advised.refused:
        handle.drop_mappings()
    gained = _gained(advice, before, measure(handle, piece), advised.taken)
    turn.applied += gained
    turn.futile = 0 if gained else turn.futile + 1
    turn.pause(turn.effects.clock_ns() - begin)


def measure(handle: Handle, ranges: Sequence[AddressRange]) -> Residency:
    """Where the memory of these ranges is now."""
    total = Residency()
    for item in ranges:
        total += handle.reader.count(item.start, item.end)
    return total


def _worth(advice: Advice, before: Residency) -> bool:
    """Whether there is anything to do; file pages not mapped yet can be brought in, so may be."""
    return advice is Advice.WILLNEED or before.present > 0


def _gained(advice: Advice, before: Residency, after: Residency, taken: int) -> int:
    """Bytes whose state changed. Pages sorted or read ahead leave no trace: what was advised."""
    match advice:
        case Advice.PAGEOUT:
            return max(before.present - after.present, 0)
        case Advice.COLLAPSE:
            return max(after.huge - before.huge, 0)
        case Advice.COLD:
            return min(before.present, taken)
        case Advice.WILLNEED:
            return min(before.swapped, taken)
