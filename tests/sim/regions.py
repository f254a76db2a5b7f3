"""Regions: ranges applied to them, three regions, splitting, merging, ageing (algorithms §4-§6)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from tests.sim.host import Range


@dataclass(slots=True)
class Region:
    """[start, end) with the accesses of this and the previous aggregation, and the age."""

    start: int
    end: int
    nr: int = 0
    last: int = 0
    age: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


def round_out(area: Range, unit: int) -> Range:
    """`area` with its start rounded down and its end rounded up to `unit`."""
    return area[0] // unit * unit, -(-area[1] // unit) * unit


def three_regions(mappings: tuple[Range, ...], unit: int) -> list[Range]:
    """The mapped areas with their two largest gaps left out; none without two gaps."""
    if len(mappings) < 3:
        return []
    gaps = [(low[1], high[0]) for low, high in itertools.pairwise(mappings)]
    largest = sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:2])
    if any(low >= high for low, high in largest):
        return []
    first, second = largest
    areas = [
        (mappings[0][0], first[0]),
        (first[1], second[0]),
        (second[1], mappings[-1][1]),
    ]
    return [(-(-low // unit) * unit, -(-high // unit) * unit) for low, high in areas]


def join_adjacent(ranges: list[Range]) -> list[Range]:
    """Touching neighbours become one range."""
    joined: list[Range] = []
    for low, high in ranges:
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _fill(inside: list[Region], area: Range) -> list[Region]:
    inside[0].start, inside[-1].end = area
    filled: list[Region] = []
    for region in inside:
        if filled and filled[-1].end < region.start:
            filled.append(Region(filled[-1].end, region.start))
        filled.append(region)
    return filled


def apply_ranges(regions: list[Region], ranges: list[Range], unit: int) -> list[Region]:
    """Fit `regions` to `ranges`: what intersects keeps its counters, holes start at zero."""
    result: list[Region] = []
    rest = [replace(region) for region in regions]
    for area in (round_out(item, unit) for item in ranges):
        inside = [region for region in rest if region.start < area[1] and area[0] < region.end]
        if not inside:
            result.append(Region(*area))
            continue
        result += _fill(inside, area)
    return result


def cut(regions: list[Region], limit: int) -> list[Region]:
    """Regions larger than `limit` cut into pieces of that size."""
    pieces: list[Region] = []
    for region in regions:
        for start in range(region.start, region.end, limit):
            pieces.append(replace(region, start=start, end=min(start + limit, region.end)))
    return pieces


def split_at(regions: list[Region], edges: list[int], unit: int) -> list[Region]:
    """Regions cut at every one of `edges` (rounded down to `unit`) that lies inside them."""
    points = sorted({edge // unit * unit for edge in edges})
    pieces: list[Region] = []
    for region in regions:
        start = region.start
        for point in (p for p in points if region.start < p < region.end):
            pieces.append(replace(region, start=start, end=point))
            start = point
        pieces.append(replace(region, start=start))
    return pieces


def grow_older(region: Region, threshold: int, *, zero_crossing: bool) -> None:
    """One aggregation older, or young again where the accesses changed."""
    crossed = zero_crossing and (region.nr == 0) != (region.last == 0)
    changed = abs(region.nr - region.last) > threshold
    region.age = 0 if changed or crossed else region.age + 1


def merge(regions: list[Region], threshold: int, limit: int) -> list[Region]:
    """Neighbours with similar accesses merged, up to `limit` bytes; averages weighted by size."""
    kept: list[Region] = []
    for region in regions:
        previous = kept[-1] if kept else None
        if (
            previous is None
            or previous.end != region.start
            or abs(previous.nr - region.nr) > threshold
            or previous.size + region.size > limit
        ):
            kept.append(region)
            continue
        total = previous.size + region.size
        previous.nr = (previous.nr * previous.size + region.nr * region.size) // total
        previous.age = (previous.age * previous.size + region.age * region.size) // total
        previous.end = region.end
    return kept
