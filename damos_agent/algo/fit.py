"""Monitored memory has changed its bounds: what stays keeps its history.

Law: damon_set_regions(), 7.3; adjacent ranges are joined first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from damos_agent.algo.ranges import union
from damos_agent.algo.region import Region
from damos_agent.model.policy import AddressRange


def fit(regions: Sequence[Region], ranges: Iterable[AddressRange], unit: int) -> list[Region]:
    """Regions that cover exactly `ranges`, rounded out to `unit`. Changes `regions` (ascending).

    Those outside are dropped; the first and last in a range are stretched or cut to its bounds;
    new ones, which know nothing, fill the holes.
    """
    fitted: list[Region] = []
    position = 0
    for bounds in _rounded_out(ranges, unit):
        while position < len(regions) and regions[position].end <= bounds.start:
            position += 1
        first = position
        while position < len(regions) and regions[position].start < bounds.end:
            position += 1
        fitted += _within(regions[first:position], bounds)
    return fitted


def _rounded_out(ranges: Iterable[AddressRange], unit: int) -> tuple[AddressRange, ...]:
    return union(
        AddressRange(r.start // unit * unit, -(-r.end // unit) * unit)
        for r in ranges
        if r.start < r.end
    )


def _within(regions: Sequence[Region], bounds: AddressRange) -> list[Region]:
    if not regions:
        return [Region(bounds.start, bounds.end)]
    regions[0].start = bounds.start
    regions[-1].end = bounds.end
    filled: list[Region] = []
    for region in regions:
        if filled and filled[-1].end < region.start:
            filled.append(Region(filled[-1].end, region.start))
        filled.append(region)
    return filled
