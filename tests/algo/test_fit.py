"""Laws of fitting regions to changed ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.fit import fit
from damos_agent.algo.ranges import union
from damos_agent.algo.region import Region
from damos_agent.model.policy import AddressRange
from tests.algo.regions import UNIT, bounds, chains, covered

Pairs = list[tuple[int, int]]

VECTORS: list[tuple[Pairs, Pairs, Pairs]] = [
    (
        [(10, 20), (20, 30), (50, 55), (55, 57), (57, 59), (70, 80), (80, 90), (90, 100)],
        [(5, 27), (45, 55), (73, 104)],
        [(5, 20), (20, 27), (45, 55), (73, 80), (80, 90), (90, 104)],
    ),
    ([(4, 16), (24, 32)], [(8, 28)], [(8, 16), (16, 24), (24, 28)]),
    ([(4, 16), (24, 32)], [(18, 23)], [(18, 23)]),
    ([], [(1, 2), (5, 9)], [(1, 2), (5, 9)]),
    ([(4, 16)], [(4, 16), (20, 24)], [(4, 16), (20, 24)]),
    ([(4, 16)], [], []),
    ([(4, 8), (8, 16)], [(4, 10), (10, 16)], [(4, 8), (8, 16)]),
]


@pytest.mark.parametrize(("old", "ranges", "expected"), VECTORS)
def test_fitting_follows_the_vectors(old: Pairs, ranges: Pairs, expected: Pairs) -> None:
    regions = [Region(a, b) for a, b in old]
    assert bounds(fit(regions, (AddressRange(a, b) for a, b in ranges), 1)) == expected


def test_ranges_are_rounded_out() -> None:
    assert bounds(fit([], [AddressRange(5000, 8193)], 4096)) == [(4096, 12288)]


def test_what_stays_keeps_its_history_and_what_is_new_has_none() -> None:
    regions = [Region(4, 16, 3, 2, age=7), Region(24, 32, 1, age=9)]
    assert fit(regions, [AddressRange(2, 28)], 1) == [
        Region(2, 16, 3, 2, age=7),
        Region(16, 24),
        Region(24, 28, 1, age=9),
    ]


_some_ranges = st.lists(
    st.tuples(st.integers(0, 700), st.integers(1, 60)).map(
        lambda pair: AddressRange(pair[0] * UNIT, (pair[0] + pair[1]) * UNIT)
    ),
    max_size=6,
)


@given(chains, _some_ranges)
def test_regions_cover_exactly_the_ranges(
    regions: list[Region], ranges: list[AddressRange]
) -> None:
    wanted = [(r.start, r.end) for r in union(ranges)]
    assert covered(fit(regions, ranges, UNIT)) == wanted


@given(chains, _some_ranges)
def test_fitting_twice_is_fitting_once(regions: list[Region], ranges: list[AddressRange]) -> None:
    once = bounds(fit(regions, ranges, UNIT))
    again = [Region(a, b) for a, b in once]
    assert bounds(fit(again, ranges, UNIT)) == once
