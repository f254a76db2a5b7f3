"""Region arithmetic against the vectors of the algorithms' description."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.sim import regions as reg
from tests.sim.regions import Region
from tests.sim.scheme import feed_back


def _chain(*points: int) -> list[Region]:
    return [Region(low, high) for low, high in pairwise(points)]


def _bounds(found: list[Region]) -> list[tuple[int, int]]:
    return [(region.start, region.end) for region in found]


def test_three_regions_leave_the_two_largest_gaps_out() -> None:
    mappings = ((10, 25), (200, 220), (300, 305), (307, 330))
    assert reg.three_regions(mappings, 1) == [(10, 25), (200, 220), (300, 330)]
    assert reg.three_regions(((1, 2), (3, 4)), 1) == []
    assert reg.three_regions((), 1) == []


@pytest.mark.parametrize(
    ("old", "ranges", "expected"),
    [
        (
            _chain(10, 20, 30) + _chain(50, 55, 57, 59) + _chain(70, 80, 90, 100),
            [(5, 27), (45, 55), (73, 104)],
            [(5, 20), (20, 27), (45, 55), (73, 80), (80, 90), (90, 104)],
        ),
        (_chain(4, 16) + _chain(24, 32), [(8, 28)], [(8, 16), (16, 24), (24, 28)]),
        (_chain(4, 16) + _chain(24, 32), [(18, 23)], [(18, 23)]),
        ([], [(1, 2), (5, 9)], [(1, 2), (5, 9)]),
    ],
)
def test_ranges_keep_what_they_intersect(
    old: list[Region], ranges: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert _bounds(reg.apply_ranges(old, ranges, 1)) == expected


def test_kept_regions_keep_their_counters() -> None:
    old = [Region(0, 10, nr=3, age=7), Region(10, 20, nr=4, age=8)]
    found = reg.apply_ranges(old, [(5, 15), (30, 40)], 1)
    assert [(r.start, r.nr, r.age) for r in found] == [(5, 3, 7), (10, 4, 8), (30, 0, 0)]


def test_merging_weighs_by_size() -> None:
    merged = reg.merge([Region(0, 100, nr=10, age=9), Region(100, 300, nr=20, age=21)], 10, 9999)
    assert merged == [Region(0, 300, nr=16, age=17)]


def test_merging_needs_likeness_contact_and_room() -> None:
    starts = (0, 100, 114, 122, 130, 156, 170, 184, 230)
    ends = (100, 112, 122, 130, 156, 170, 184, 230, 10170)
    heats = (0, 0, 10, 10, 20, 30, 1, 2, 5)
    rows = zip(starts, ends, heats, strict=True)
    merged = reg.merge([Region(start, end, nr=heat) for start, end, heat in rows], 9, 9999)
    expected = [(0, 112), (114, 130), (130, 156), (156, 170), (170, 230), (230, 10170)]
    assert _bounds(merged) == expected


@pytest.mark.parametrize(
    ("last", "score", "following"),
    [
        (10000, 0, 20000),
        (10000, 5000, 15000),
        (40960000, 5000, 61440000),
        (40960000, 12000, 32768000),
        (40960000, 15000, 20480000),
        (40960000, 20000, 10000),
        (900000, 200, 1782000),
        (900000, 2000, 1620000),
        (12345, 10000, 12345),
    ],
)
def test_feedback(last: int, score: int, following: int) -> None:
    assert feed_back(last, score) == following
