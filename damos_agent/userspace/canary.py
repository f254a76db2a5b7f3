"""The gate in front of pageout: a few pages go first, and must stay away, before the rest may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from damos_agent.algo.ranges import total_bytes
from damos_agent.host.madvise import Advice
from damos_agent.host.memory import read_meminfo
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.canary_book import CanaryBook
from damos_agent.userspace.canary_state import State, Trial
from damos_agent.userspace.effect import HUGE_BYTES, PAGE_BYTES
from damos_agent.userspace.handle import Handle
from damos_agent.userspace.turn import Turn

NO_SWAP: Final = "no swap space"
STAY: Final = "pages stay resident"

_BP: Final = 10_000
_HUGE_UNITS: Final = 8  # at most, per trial
_CALL_PAGES: Final = 64  # each page of a running process costs a TLB flush: 2 ms a call
_VAIN_DRAWS: Final = 64


@dataclass(frozen=True, slots=True)
class Admission:
    """What the gate says: `cleared` may go, `waiting` for canaries, `cancelled` as it is hot.

    `no_effect`: why nothing can be paged out there, or empty.
    """

    cleared: tuple[AddressRange, ...] = ()
    waiting: bool = False
    cancelled: bool = False
    no_effect: str = ""


@dataclass(frozen=True, slots=True)
class _Fate:
    """Of a canary: how many of its pages went out; `stuck`: none did, for certain."""

    moved: int
    stuck: bool

    @classmethod
    def of(cls, before: Sequence[int | None], after: Sequence[int | None]) -> _Fate:
        """By frames: what is in use is back at once, but in another one. 0 tells nothing."""
        pairs = tuple(zip(before, after, strict=True))
        moved = sum(old is not None and old != new for old, new in pairs)
        return cls(moved, not moved and all(old for old, _ in pairs if old is not None))


class CanaryGate:
    """One for all processes of the agent: the rate of canaries is common to them."""

    def __init__(self, book: CanaryBook, rng: Random) -> None:
        self.book = book
        self._rng = rng

    def admit(self, handle: Handle, ranges: Sequence[AddressRange], turn: Turn) -> Admission:
        """Look after canaries that were sent, send new ones, and say what may be paged out."""
        now_us = turn.effects.clock_ns() // 1_000
        process = handle.process
        cancelled = False
        for trial in self.book.trials(process, ranges, now_us):
            cancelled |= not self.book.judge(process, trial, came_back(handle, trial), now_us)
        if cancelled:
            return Admission(cancelled=True)
        unknown = self.book.unknown(process, ranges, now_us)
        no_effect = ""
        waiting = False
        if unknown:
            if self.book.allowance(now_us) >= self.book.limits.min_pages:
                no_effect = self._send(handle, unknown, turn)
            else:
                waiting = True
        pending = self.book.find(process, ranges, State.PENDING, now_us)
        cleared = self.book.find(process, ranges, State.CLEARED, now_us)
        return Admission(cleared, waiting or bool(pending), no_effect=no_effect)

    def _send(self, handle: Handle, ranges: Sequence[AddressRange], turn: Turn) -> str:
        """Page out canaries of these ranges; why that had no effect, or empty."""
        units = tuple(self._draw(handle, ranges, turn.effects.clock_ns() // 1_000))
        if not units:
            return ""  # nothing resident was found, so that nothing is there to be paged out
        before = [handle.reader.frames(unit) for unit in units]
        for batch in _batches(units):
            begin = turn.effects.clock_ns()
            turn.effects.advise(handle.pidfd, Advice.PAGEOUT, batch)
            turn.pause(turn.effects.clock_ns() - begin)
        fates = [
            _Fate.of(old, handle.reader.frames(unit))
            for unit, old in zip(units, before, strict=True)
        ]
        turn.applied += sum(fate.moved for fate in fates) * PAGE_BYTES
        now_us = turn.effects.clock_ns() // 1_000
        if 2 * sum(bool(fate.moved) for fate in fates) >= len(units):
            # Pages that cannot be paged out say nothing about the others.
            tried = [unit for unit, fate in zip(units, fates, strict=True) if not fate.stuck]
            self.book.send(handle.process, ranges, tried, now_us)
            return ""
        reason = why_no_effect(turn)
        self.book.no_effect(handle.process, ranges, reason, now_us)
        return reason

    def _draw(
        self, handle: Handle, ranges: Sequence[AddressRange], now_us: int
    ) -> Iterator[tuple[int, ...]]:
        """Random resident pages of the ranges, or the whole huge pages around them."""
        limits = self.book.limits
        share = total_bytes(ranges) * limits.share_bp // _BP
        most = min(limits.max_pages, self.book.allowance(now_us))
        pages = min(max(share // PAGE_BYTES, limits.min_pages), most)
        huge = min(max(share // HUGE_BYTES, 1), _HUGE_UNITS)
        drawn: set[int] = set()
        weight, vain = 0.0, 0
        # Draws that find nothing count: in sparse memory a share of the *resident* pages goes.
        while weight < 0.999 and vain < _VAIN_DRAWS:
            address = _pick(ranges, self._rng)
            block = AddressRange(
                address // HUGE_BYTES * HUGE_BYTES, (address // HUGE_BYTES + 1) * HUGE_BYTES
            )
            known = address in drawn or block.start | 1 in drawn
            if known or handle.reader.frames((address,))[0] is None:
                vain += 1
            elif _is_whole(block, ranges) and handle.reader.count(block.start, block.end).huge:
                drawn.add(block.start | 1)
                weight += 1 / huge
                yield tuple(range(block.start, block.end, PAGE_BYTES))
            else:
                drawn.add(address)
                weight += 1 / pages
                yield (address,)


def came_back(handle: Handle, trial: Trial) -> int:
    """How many units of a trial are in memory again; of a huge one a single page is enough."""
    return sum(
        any(frame is not None for frame in handle.reader.frames(unit)) for unit in trial.units
    )


def why_no_effect(turn: Turn) -> str:
    """Why nothing went out."""
    free = read_meminfo(turn.effects.fs, turn.effects.roots).get("SwapFree", 0)
    return STAY if free else NO_SWAP


def _batches(units: Sequence[tuple[int, ...]]) -> Iterator[list[AddressRange]]:
    """Calls: huge units one by one, single pages by the dozen, ascending."""
    single = sorted(unit[0] for unit in units if len(unit) == 1)
    for unit in units:
        if len(unit) > 1:
            yield [AddressRange(unit[0], unit[-1] + PAGE_BYTES)]
    for index in range(0, len(single), _CALL_PAGES):
        pages = single[index : index + _CALL_PAGES]
        yield [AddressRange(page, page + PAGE_BYTES) for page in pages]


def _pick(ranges: Sequence[AddressRange], rng: Random) -> int:
    """A page of the ranges, each as likely."""
    page = rng.randrange(total_bytes(ranges) // PAGE_BYTES)
    for item in ranges:
        pages = (item.end - item.start) // PAGE_BYTES
        if page < pages:
            break
        page -= pages
    return item.start + page * PAGE_BYTES


def _is_whole(block: AddressRange, ranges: Sequence[AddressRange]) -> bool:
    return any(item.start <= block.start and block.end <= item.end for item in ranges)
