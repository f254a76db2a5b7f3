"""What the multi-gen LRU tells of a cgroup, in a form that schemes can judge. Pure.

Generations have no addresses. So that the rules of `algo` (patterns, quotas, priorities) hold here
as they do for regions, each generation's halves stand in a row, the longest idle first; a region's
`start` and `end` are places in that row. These never leave this process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.host.mglru import MIN_GENERATIONS, LruNode
from damos_agent.model.userspace import IdleBytes
from damos_agent.userspace.memcg import Kind, sure_idle_us

UNIT: Final = Intervals(100_000, 100_000)
"""Ages are counted in tenths of a second. One sample each: used, or not; rates are not known."""
_STEP_US: Final = 1_000_000
LONG_IDLE_US: Final = 1 << 47
"""Of memory whose age cannot be told: it satisfies every pattern."""


@dataclass(frozen=True, slots=True)
class Slot:
    """`size` bytes of one kind in a generation of cgroup `path`, on NUMA node `numa`.

    `idle_us`: not used for at least that long; `in_use`: used lately, or it cannot be told. `kind`
    is None for memory of which nothing is known.
    """

    path: str
    numa: int
    kind: Kind | None
    size: int
    idle_us: int
    in_use: bool


def slots_of(nodes: Iterable[LruNode], *, swap: bool) -> tuple[Slot, ...]:
    """All generations, the longest idle first. Without swap anonymous memory is not told of."""
    found = [
        Slot(node.path, node.node, kind, size, sure_idle_us(node.generations, index), in_use)
        if kind is Kind.FILE or swap
        else Slot(node.path, node.node, kind, size, 0, in_use=True)
        for node in nodes
        for index, one in enumerate(node.generations)
        for in_use in [one.number > node.youngest - MIN_GENERATIONS]
        for kind in Kind
        if (size := kind.bytes_of(one))
    ]
    return tuple(sorted(found, key=lambda slot: (slot.in_use, -slot.idle_us)))


class Row:
    """Slots one behind the other."""

    def __init__(self, slots: Sequence[Slot] = ()) -> None:
        self.slots = tuple(slots)
        self._ends = list(accumulate(slot.size for slot in slots))

    def regions(self) -> list[Region]:
        """A region for each, in their order."""
        return [
            Region(end - slot.size, end, int(slot.in_use), age=slot.idle_us // UNIT.aggr_us)
            for slot, end in zip(self.slots, self._ends, strict=True)
        ]

    def at(self, place: int) -> Slot:
        """The one that `place` is in."""
        return self.slots[bisect_right(self._ends, place)]


def histogram(slots: Iterable[Slot]) -> tuple[IdleBytes, ...]:
    """Bytes idle for at least so long, by whole seconds, the longest first; last all there is."""
    sums: dict[int, list[int]] = {}
    for slot in slots:
        second = 0 if slot.in_use else slot.idle_us // _STEP_US * _STEP_US
        row = sums.setdefault(second, [0, 0])
        row[slot.kind is Kind.FILE] += slot.size
    found, anonymous, file = [], 0, 0
    for second in sorted(sums, reverse=True):
        anonymous += sums[second][0]
        file += sums[second][1]
        found.append(IdleBytes(second, anonymous, file))
    if found and found[-1].idle_us:
        found.append(IdleBytes(0, anonymous, file))
    return tuple(found)
