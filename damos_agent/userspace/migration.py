"""Moving a region's resident pages to NUMA nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from damos_agent.host.madvise import cut
from damos_agent.host.move_pages import PAGES_MAX, Moved
from damos_agent.model.damon import DestSpec, SchemeSpec
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.handle import Handle
from damos_agent.userspace.turn import Turn


def move(turn: Turn, handle: Handle, scheme: SchemeSpec, ranges: Sequence[AddressRange]) -> Moved:
    """Move what of the ranges lies on another node, `PAGES_MAX` pages at a time."""
    dests = scheme.dests or (DestSpec(scheme.target_nid, 1),)
    total = Moved()
    for piece in cut(ranges, PAGES_MAX * PAGE_BYTES):
        if turn.over():
            turn.unfinished = True
            break
        begin = turn.effects.clock_ns()
        # move_pages takes no pidfd: this narrows the time in which the pid could become another's.
        handle.check()
        if not handle.reader.count(piece.start, piece.end).present:
            continue
        for node, pages in by_node(piece, dests):
            total += turn.effects.migrate(handle.process.pid, pages, node)
        turn.applied = total.moved * PAGE_BYTES
        turn.pause(turn.effects.clock_ns() - begin)
    return total


def by_node(piece: AddressRange, dests: Sequence[DestSpec]) -> Iterator[tuple[int, list[int]]]:
    """The pages of a piece for each destination, spread by weight as their addresses go."""
    wheel = [dest.id for dest in dests for _ in range(dest.weight)]
    pages: dict[int, list[int]] = {}
    for address in range(piece.start, piece.end, PAGE_BYTES):
        node = wheel[address // PAGE_BYTES % len(wheel)] if wheel else dests[0].id
        pages.setdefault(node, []).append(address)
    yield from pages.items()
