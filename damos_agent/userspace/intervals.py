"""Something known of address intervals, whatever becomes of the regions over them. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from damos_agent.algo.ranges import subtract, union
from damos_agent.model.policy import AddressRange

T = TypeVar("T")


class IntervalMap(Generic[T]):
    """Disjoint intervals, each with a value; neighbours of equal value are one interval."""

    def __init__(self) -> None:
        self._held: list[tuple[AddressRange, T]] = []

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[tuple[AddressRange, T]]:
        return iter(self._held)

    def overlapping(self, ranges: Iterable[AddressRange]) -> list[tuple[AddressRange, T]]:
        """The intervals, whole, that share addresses with any of `ranges`; ascending."""
        found: list[tuple[AddressRange, T]] = []
        for item in union(ranges):
            for held in self._held[slice(*self._between(item.start, item.end))]:
                if not found or found[-1] is not held:
                    found.append(held)
        return found

    def put(self, ranges: Iterable[AddressRange], value: T) -> None:
        """Let `value` hold for `ranges`; what was known of just these is replaced."""
        for item in union(ranges):
            low, high = self._between(item.start, item.end)
            kept = [
                (part, old)
                for where, old in self._held[low:high]
                for part in subtract((where,), (item,))
            ]
            # One more on each side, to be joined with.
            low, high = max(low - 1, 0), min(high + 1, len(self._held))
            around = [h for h in self._held[low:high] if not _overlap(h[0], item)]
            fresh = sorted([*around, *kept, (item, value)], key=lambda h: h[0].start)
            self._held[low:high] = _joined(fresh)

    def drop(self, is_stale: Callable[[T], bool]) -> None:
        """Forget the intervals whose value is stale."""
        self._held = [held for held in self._held if not is_stale(held[1])]

    def _between(self, start: int, end: int) -> tuple[int, int]:
        """Indexes of those that overlap [start, end)."""
        low = bisect_right(self._held, start, key=lambda held: held[0].end)
        high = bisect_left(self._held, end, key=lambda held: held[0].start)
        return low, high


def _overlap(one: AddressRange, other: AddressRange) -> bool:
    return one.start < other.end and other.start < one.end


def _joined(held: Iterable[tuple[AddressRange, T]]) -> list[tuple[AddressRange, T]]:
    found: list[tuple[AddressRange, T]] = []
    for where, value in held:
        if found and found[-1][0].end == where.start and found[-1][1] == value:
            found[-1] = (AddressRange(found[-1][0].start, where.end), value)
        else:
            found.append((where, value))
    return found
