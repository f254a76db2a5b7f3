"""DAMOS actions from user space, on regions of other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from damos_agent.algo.actor import Applied, Ration
from damos_agent.algo.ranges import intersect, round_in, total_bytes
from damos_agent.algo.region import Region
from damos_agent.host.madvise import cut
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.policy import Action, AddressRange
from damos_agent.userspace.actions import MIGRATIONS, WAYS, check_schemes
from damos_agent.userspace.canary import CanaryGate, Outlook, why_no_effect
from damos_agent.userspace.canary_state import State
from damos_agent.userspace.handle import Effects, Handle, open_handle
from damos_agent.userspace.migration import move
from damos_agent.userspace.turn import FUTILE_PIECES, Turn, run
from damos_agent.userspace.waiting import Waiting

_LOOK_BYTES = 64 << 20
"""A look at so much takes half a millisecond."""
REACH_BYTES = 256 << 20
"""No trial looks further."""
_NOTHING = Applied(applied=0, took_ns=0, touched=False)
_NOT_NOW = Applied(applied=0, took_ns=0, touched=False, tried=0)


class ProcessActor:
    """Carries out the schemes of one policy.

    A process is opened by `follow`, or at its first action, and never touched again after exit or
    exec: its regions were of memory it no longer has. `follow` with `renewed` opens it anew.
    Raises `UnsupportedError` at once for a scheme that user space cannot carry out. `update_us`:
    how old known mappings may be. Of the round: `may_page_out`, and bytes `paged_out` by process.
    """

    def __init__(
        self, schemes: Sequence[SchemeSpec], effects: Effects, gate: CanaryGate, update_us: int
    ) -> None:
        check_schemes(schemes)
        self._schemes = tuple(schemes)
        self._effects = effects
        self._gate = gate
        self._update_us = update_us
        self._handles: dict[Placement, Handle] = {}
        self._gone: set[Placement] = set()
        self._waiting = tuple(Waiting() for _ in schemes)
        self._deadline_ns = 0
        self.may_page_out = True
        self._room: int | None = None
        self.paged_out: dict[Placement, int] = {}

    def begin_round(
        self, round_budget_us: int, *, page_out: bool = True, room: int | None = None
    ) -> None:
        """Actions until the next call end after that time, pauses included.

        Without a budget nothing is done; unless `page_out`, nothing is paged out, canaries neither,
        and no more than about `room` bytes, if that is given.
        """
        self.may_page_out = page_out
        self._room = room
        self.paged_out = {}
        self._gate.held_back = False
        for waiting in self._waiting:
            waiting.begin_round()
        self._deadline_ns = self._effects.clock_ns() + round_budget_us * 1_000

    def follow(self, processes: Iterable[Placement], renewed: Iterable[Placement] = ()) -> None:
        """Act on no others than these from now on; the regions of those `renewed` are new too."""
        wanted = frozenset(processes)
        for process in ((set(self._handles) | self._gone) - wanted) | set(renewed):
            self._release(process)
            self._gone.discard(process)
        for process in wanted - set(self._handles) - self._gone:
            self._open(process)

    def apply(
        self,
        scheme: int,
        process: Placement,
        region: Region,
        ration: Ration | None = None,
        parts: Sequence[AddressRange] | None = None,
        beyond: Sequence[AddressRange] | None = None,
    ) -> Applied:
        """See `Actor`. Raises `HostError` when a privilege is missing.

        `parts`: of the region only these are acted on, and one canary trial stands for all of them,
        and for those `beyond` in what it was cut from.
        """
        spec = self._schemes[scheme]
        if spec.action == Action.STAT:
            return _NOTHING
        pages_out = spec.action == Action.PAGEOUT
        room = self._left() if pages_out else None
        if pages_out and (not self.may_page_out or room == 0):
            return _NOT_NOW
        clock = self._effects.clock_ns
        time_ns = ration.left_ns if ration else None
        turn = Turn(self._effects, self._deadline_ns, clock(), room=room, time_ns=time_ns)
        handle = None if turn.over() else self._open(process)
        if handle is None:
            return _NOT_NOW
        try:
            handle.check()
            ranges = self._clip(handle, AddressRange(region.start, region.end), parts)
            outlook = None
            if pages_out and ration is not None:
                outlook = self._look_out(scheme, handle, region, ration, beyond)
            complete = self._act(spec, handle, ranges, turn, outlook)
        except ProcessLookupError:
            self._release(process)
            self._gone.add(process)
            complete = False
        if pages_out:
            self.paged_out[process] = self.paged_out.get(process, 0) + turn.applied
        tried = _tried(turn, region.size if parts is None else total_bytes(parts), complete)
        took_ns = max(turn.took_ns, 0)
        return Applied(
            turn.applied,
            took_ns,
            touched=complete,
            tried=tried,
            until=turn.until,
            begun=turn.begun and not complete,
            trial_bytes=turn.sent,
            trial_ns=max(took_ns - turn.run_ns, 0) if pages_out else 0,
        )

    def own_bytes(
        self, process: Placement, ranges: Iterable[AddressRange], enough: Callable[[], bool]
    ) -> int:
        """Of these ranges, what is in memory, anonymous, and of this process alone.

        0 once it has gone; less as soon as it is `enough`, which is asked now and then.
        """
        handle, found = self._open(process), 0
        if handle is None:
            return 0
        try:
            for where in ranges:
                for piece in cut(handle.clip(where, self._update_us), _LOOK_BYTES):
                    if enough():
                        return found
                    found += handle.reader.count_own(piece.start, piece.end)
        except ProcessLookupError:
            return 0
        return found

    def close(self) -> None:
        """Give back all descriptors; may be called again. What the gate knows stays."""
        while self._handles:
            self._handles.popitem()[1].close()

    def _left(self) -> int | None:
        """Of the round's room."""
        if self._room is None:
            return None
        return max(self._room - sum(self.paged_out.values()), 0)

    def _clip(
        self, handle: Handle, where: AddressRange, parts: Sequence[AddressRange] | None
    ) -> tuple[AddressRange, ...]:
        ranges = handle.clip(where, self._update_us)
        return ranges if parts is None else intersect(ranges, parts)

    def _look_out(
        self,
        scheme: int,
        handle: Handle,
        region: Region,
        ration: Ration,
        beyond: Sequence[AddressRange] | None,
    ) -> Outlook:
        reach = min(ration.reach, region.end + REACH_BYTES)
        ranges: tuple[AddressRange, ...] = ()
        if reach > region.end:
            ranges = self._clip(handle, AddressRange(region.end, reach), beyond)
        return Outlook(ration.window_bytes, self._waiting[scheme], region.size, reach, ranges)

    def _act(
        self,
        spec: SchemeSpec,
        handle: Handle,
        ranges: tuple[AddressRange, ...],
        turn: Turn,
        outlook: Outlook | None,
    ) -> bool:
        """Whether nothing is left to do, so that the evidence about the region is void now."""
        if spec.action == Action.PAGEOUT:
            return self._page_out(handle, ranges, turn, outlook)
        if spec.action in MIGRATIONS:
            move(turn, handle, spec, ranges)
        else:
            way = WAYS[Action(spec.action)]
            run(turn, handle, way, round_in(ranges, way.unit))
        return not turn.unfinished

    def _page_out(
        self,
        handle: Handle,
        ranges: Sequence[AddressRange],
        turn: Turn,
        outlook: Outlook | None,
    ) -> bool:
        admission = self._gate.admit(handle, ranges, turn, outlook)
        turn.until, turn.done = admission.until, admission.spared
        if admission.cancelled:
            return True
        book, now_us = self._gate.book, turn.began_ns // 1_000
        turn.done += total_bytes(book.find(handle.process, ranges, State.DONE, now_us))
        run(turn, handle, WAYS[Action.PAGEOUT], admission.cleared)
        turn.repeated = book.canaried(handle.process, turn.finished)
        book.done(handle.process, turn.finished)
        if turn.futile >= FUTILE_PIECES:
            now_us = self._effects.clock_ns() // 1_000
            book.no_effect(handle.process, admission.cleared, why_no_effect(turn), now_us)
        turn.begun = admission.begun or turn.unfinished
        # While anything is still to come, the region's age has to last until then.
        return not (admission.waiting or turn.unfinished)

    def _open(self, process: Placement) -> Handle | None:
        if process in self._gone:
            return None
        handle = self._handles.get(process)
        if handle is None:
            try:
                handle = self._handles[process] = open_handle(process, self._effects)
            except ProcessLookupError:
                self._gone.add(process)
        return handle

    def _release(self, process: Placement) -> None:
        handle = self._handles.pop(process, None)
        if handle is not None:
            handle.close()
        self._gate.book.forget(process)


def _tried(turn: Turn, asked: int, complete: bool) -> int | None:
    """Of the bytes asked for; None: all of them. What went before was counted when it went."""
    if complete:
        before = turn.repeated + turn.done
        return max(asked - before + turn.sent, turn.applied) if before or turn.sent else None
    return max(total_bytes(turn.finished) - turn.repeated + turn.sent, turn.applied)
