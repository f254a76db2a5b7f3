"""The gate in front of pageout: a few pages go first, and must stay away, before the rest may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from damos_agent.algo.ranges import head, total_bytes, union
from damos_agent.host.madvise import Advice
from damos_agent.host.memory import read_meminfo
from damos_agent.model.damon import Placement
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.canary_book import CanaryBook
from damos_agent.userspace.canary_state import JUDGED, State, Trial
from damos_agent.userspace.effect import HUGE_BYTES, PAGE_BYTES
from damos_agent.userspace.handle import Handle
from damos_agent.userspace.turn import Turn
from damos_agent.userspace.waiting import Waiting

NO_SWAP: Final = "no swap space"
STAY: Final = "pages stay resident"

_BP: Final = 10_000
_HUGE_UNITS: Final = 8  # at most, per trial
_CALL_PAGES: Final = 64  # each page of a running process costs a TLB flush: 2 ms a call
_VAIN_DRAWS: Final = 64
_PEEKS: Final = 8
_WINDOW_SHARE: Final = 4
"""Of a quota's window one trial takes no more than this part, if it has the choice."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a quota is about: `window_bytes` each, `waiting` for it behind the gate already.

    For its sake `size` bytes of a region were asked about, the rest of which, up to `reach`, is
    `beyond`: a trial may stand for that, too.
    """

    window_bytes: int
    waiting: Waiting
    size: int
    reach: int
    beyond: tuple[AddressRange, ...] = ()

    @property
    def trial_bytes(self) -> int:
        """How much may be sent to try the rest."""
        return self.window_bytes // _WINDOW_SHARE


@dataclass(frozen=True, slots=True)
class Admission:
    """What the gate says: `cleared` may go, `waiting` for canaries, `cancelled` as it is hot.

    `spared` bytes are not to be touched. `no_effect`: why nothing can be paged out there, or empty.
    `begun`: of what waits, something was sent. `until`: up to there everything waits, or is spared,
    like what was asked about; 0: not told.
    """

    cleared: tuple[AddressRange, ...] = ()
    waiting: bool = False
    begun: bool = False
    cancelled: bool = False
    spared: int = 0
    no_effect: str = ""
    until: int = 0


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
    """One for all processes of a policy: the rate of canaries is common to them.

    `held_back`: it kept something waiting since this was last set to False.
    """

    def __init__(self, book: CanaryBook, rng: Random) -> None:
        self.book = book
        self.held_back = False
        self._rng = rng

    def admit(
        self,
        handle: Handle,
        ranges: Sequence[AddressRange],
        turn: Turn,
        outlook: Outlook | None = None,
    ) -> Admission:
        """Look after canaries that were sent, send new ones, and say what may be paged out."""
        now_us = turn.effects.clock_ns() // 1_000
        process = handle.process
        cancelled = False
        for trial in self.book.trials(process, ranges, now_us):
            cancelled |= not self.book.judge(process, trial, came_back(handle, trial), now_us)
        if cancelled:
            return Admission(cancelled=True, spared=total_bytes(ranges))
        if outlook is not None:
            self._see(process, ranges, outlook, now_us)
        unknown = self.book.unknown(process, ranges, now_us)
        no_effect = ""
        waiting = False
        if unknown:
            if self._may_send(outlook, now_us):
                no_effect = self._send(handle, unknown, turn, outlook)
            else:
                waiting = True
        begun = bool(self.book.find(process, ranges, State.PENDING, now_us))
        waiting |= begun
        cleared = self.book.find(process, ranges, State.CLEARED, now_us)
        if cleared and outlook is not None and outlook.waiting.is_low(outlook.window_bytes):
            unknown = self.book.unknown(process, outlook.beyond, now_us)
            if unknown and self._may_send(outlook, now_us):
                no_effect = self._send(handle, unknown, turn, outlook)
        spared = total_bytes(self.book.find(process, ranges, State.BLOCKED, now_us))
        until = 0
        if outlook is not None and not cleared:
            until = self._until(process, outlook, now_us, waiting=waiting)
        return Admission(cleared, waiting, begun, spared=spared, no_effect=no_effect, until=until)

    def _see(
        self, process: Placement, ranges: Sequence[AddressRange], outlook: Outlook, now_us: int
    ) -> None:
        every = (*ranges, *outlook.beyond)
        if not every:
            return

        def ready(start: int) -> int:
            end = every[-1].end
            ahead = [AddressRange(max(r.start, start), r.end) for r in every if r.end > start]
            found = (self.book.find(process, ahead, state, now_us) for state in JUDGED)
            return sum(map(total_bytes, found)) if start < end else 0

        outlook.waiting.see(process, every[0].start, every[-1].end, ready)

    def _may_send(self, outlook: Outlook | None, now_us: int) -> bool:
        limits = self.book.limits
        if self.book.allowance(now_us) < limits.min_pages:
            self.held_back = True
            return False
        if outlook is None:
            return True
        if outlook.waiting.is_enough(outlook.window_bytes):
            return False
        # With what is left of a window no trial is begun that it cannot pay.
        payable = min(limits.min_pages * PAGE_BYTES, outlook.window_bytes)
        return not outlook.beyond or outlook.size >= payable

    def _until(self, process: Placement, outlook: Outlook, now_us: int, *, waiting: bool) -> int:
        """Where something else begins: what may go, what may be tried, what does not wait."""
        beyond = outlook.beyond
        other = list(self.book.find(process, beyond, State.CLEARED, now_us))
        if not waiting:
            other += self.book.find(process, beyond, State.PENDING, now_us)
        if not waiting or self._may_send(outlook, now_us):
            other += self.book.unknown(process, beyond, now_us)
        return min((item.start for item in other), default=outlook.reach)

    def _send(
        self,
        handle: Handle,
        ranges: Sequence[AddressRange],
        turn: Turn,
        outlook: Outlook | None,
    ) -> str:
        """Page out canaries of these ranges; why that had no effect, or empty."""
        now_us = turn.effects.clock_ns() // 1_000
        most = self.book.limits.max_pages
        if outlook is not None:
            pages = max(outlook.trial_bytes // PAGE_BYTES, self.book.limits.min_pages)
            most = min(most, pages, max(outlook.window_bytes // PAGE_BYTES, 1))
            ranges = self._widen(handle, ranges, outlook, most, now_us)
        units = tuple(self._draw(handle, ranges, most, now_us))
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
        went = sum(fate.moved for fate in fates) * PAGE_BYTES
        turn.applied += went
        turn.sent += went
        now_us = turn.effects.clock_ns() // 1_000
        if 2 * sum(bool(fate.moved) for fate in fates) >= len(units):
            # Pages that cannot be paged out say nothing about the others.
            tried = [unit for unit, fate in zip(units, fates, strict=True) if not fate.stuck]
            self.book.send(handle.process, ranges, tried, now_us)
            if outlook is not None:
                outlook.waiting.add(total_bytes(ranges))
            return ""
        reason = why_no_effect(turn)
        self.book.no_effect(handle.process, ranges, reason, now_us)
        return reason

    def _widen(
        self,
        handle: Handle,
        ranges: Sequence[AddressRange],
        outlook: Outlook,
        most: int,
        now_us: int,
    ) -> Sequence[AddressRange]:
        """As much, of the ranges and beyond, as the canaries that are allowed can stand for."""
        size = most * PAGE_BYTES
        if self._is_huge(handle, ranges, union((*ranges, *outlook.beyond))):
            size = min(max(outlook.trial_bytes // HUGE_BYTES, 1), _HUGE_UNITS) * HUGE_BYTES
        beyond = self.book.unknown(handle.process, outlook.beyond, now_us)
        return union(head((*ranges, *beyond), size * _BP // self.book.limits.share_bp))

    def _is_huge(
        self, handle: Handle, ranges: Sequence[AddressRange], around: Sequence[AddressRange]
    ) -> bool:
        """Whether the first page that is found in memory belongs to a huge one, inside `around`.

        Not beyond: behind the stack there is no address space, and PAGEMAP_SCAN says EFAULT.
        """
        for _ in range(_PEEKS):
            address = _pick(ranges, self._rng)
            if handle.reader.frames((address,))[0] is not None:
                start = address // HUGE_BYTES * HUGE_BYTES
                block = AddressRange(start, start + HUGE_BYTES)
                whole = _is_whole(block, around)
                return whole and bool(handle.reader.count(block.start, block.end).huge)
        return False

    def _draw(
        self, handle: Handle, ranges: Sequence[AddressRange], most: int, now_us: int
    ) -> Iterator[tuple[int, ...]]:
        """Random resident pages of the ranges, or the whole huge pages around them."""
        limits = self.book.limits
        share = total_bytes(ranges) * limits.share_bp // _BP
        most = min(most, self.book.allowance(now_us))
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
    return sum(_is_back(handle, unit) for unit in trial.units)


def _is_back(handle: Handle, unit: tuple[int, ...]) -> bool:
    if len(unit) == 1:
        return handle.reader.frames(unit)[0] is not None
    return handle.reader.count(unit[0], unit[-1] + PAGE_BYTES).present > 0


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
