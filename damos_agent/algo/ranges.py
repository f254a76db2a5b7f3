"""Address ranges: set operations, and the three regions DAMON monitors of a process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from damos_agent.model.policy import AddressRange

MIN_REGION_BYTES: Final = 4096
"""DAMON_MIN_REGION_SZ of the virtual address operations: one page."""


def union(ranges: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """Ascending disjoint ranges covering the same addresses; touching ones are joined."""
    merged: list[AddressRange] = []
    for item in sorted(ranges, key=lambda r: (r.start, r.end)):
        if item.start >= item.end:
            continue
        if merged and item.start <= merged[-1].end:
            merged[-1] = AddressRange(merged[-1].start, max(merged[-1].end, item.end))
        else:
            merged.append(item)
    return tuple(merged)


def intersect(
    left: Iterable[AddressRange], right: Iterable[AddressRange]
) -> tuple[AddressRange, ...]:
    """Addresses in both, as `union` gives them."""
    ours, theirs = union(left), union(right)
    found: list[AddressRange] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        start = max(ours[i].start, theirs[j].start)
        end = min(ours[i].end, theirs[j].end)
        if start < end:
            found.append(AddressRange(start, end))
        if ours[i].end <= theirs[j].end:
            i += 1
        else:
            j += 1
    return tuple(found)


def subtract(
    left: Iterable[AddressRange], right: Iterable[AddressRange]
) -> tuple[AddressRange, ...]:
    """Addresses of `left` that are not in `right`, as `union` gives them."""
    holes = union(right)
    rest: list[AddressRange] = []
    first = 0
    for item in union(left):
        start = item.start
        while first < len(holes) and holes[first].end <= start:
            first += 1
        index = first
        while index < len(holes) and holes[index].start < item.end:
            if holes[index].start > start:
                rest.append(AddressRange(start, holes[index].start))
            start = max(start, holes[index].end)
            index += 1
        if start < item.end:
            rest.append(AddressRange(start, item.end))
    return tuple(rest)


def round_in(ranges: Iterable[AddressRange], unit: int) -> tuple[AddressRange, ...]:
    """Whole `unit`s only: starts rounded up, ends down, what is then empty dropped."""
    inner = (AddressRange(-(-r.start // unit) * unit, r.end // unit * unit) for r in ranges)
    return union(inner)


def head(ranges: Iterable[AddressRange], size: int) -> tuple[AddressRange, ...]:
    """The first `size` bytes, in the order given."""
    found: list[AddressRange] = []
    for item in ranges:
        if size <= 0:
            break
        found.append(AddressRange(item.start, min(item.end, item.start + size)))
        size -= item.end - item.start
    return tuple(found)


def total_bytes(ranges: Iterable[AddressRange]) -> int:
    """How many addresses the ranges cover, counting none twice."""
    return sum(r.end - r.start for r in union(ranges))


def three_regions(
    mappings: Sequence[AddressRange], unit: int = MIN_REGION_BYTES
) -> tuple[AddressRange, ...]:
    """What lies around the two largest gaps between `mappings` (ascending, disjoint).

    Heap, mmap area and stack are terabytes apart; leaving out just those two gaps makes sampling
    affordable. The first of equal gaps wins; with fewer than two gaps there are no regions at
    all. Every bound is rounded up to `unit`. Law: mm/damon/vaddr.c, __damon_va_three_regions().
    """
    gaps: list[AddressRange] = []
    for before, after in pairwise(mappings):
        gap = AddressRange(before.end, after.start)
        if gap.start < gap.end:
            gaps.append(gap)
    if len(gaps) < 2:
        return ()
    largest = sorted(gaps, key=lambda g: g.start - g.end)[:2]  # stable: first seen wins ties
    low, high = sorted(largest, key=lambda g: g.start)
    bounds = (
        (mappings[0].start, low.start),
        (low.end, high.start),
        (high.end, mappings[-1].end),
    )
    return tuple(AddressRange(-(-a // unit) * unit, -(-b // unit) * unit) for a, b in bounds)


def around_gaps(ranges: Sequence[AddressRange], most: int) -> tuple[AddressRange, ...]:
    """At most `most` ranges that cover all of `ranges` (ascending, disjoint), with the largest
    gaps left out.
    """
    if len(ranges) <= most:
        return tuple(ranges)
    by_gap = sorted(range(1, len(ranges)), key=lambda i: ranges[i - 1].end - ranges[i].start)
    starts = [0, *sorted(by_gap[: most - 1])]
    ends = [*(index - 1 for index in starts[1:]), len(ranges) - 1]
    return tuple(
        AddressRange(ranges[first].start, ranges[last].end)
        for first, last in zip(starts, ends, strict=True)
    )
