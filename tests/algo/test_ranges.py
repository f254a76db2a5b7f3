"""Laws of address ranges and of the three regions."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.ranges import (
    around_gaps,
    intersect,
    round_in,
    subtract,
    three_regions,
    total_bytes,
    union,
)
from damos_agent.model.policy import AddressRange

Pairs = tuple[tuple[int, int], ...]


def ranges(*pairs: tuple[int, int]) -> tuple[AddressRange, ...]:
    return tuple(AddressRange(start, end) for start, end in pairs)


some_ranges = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 12)).map(
        lambda pair: AddressRange(pair[0], pair[0] + pair[1])
    ),
    max_size=8,
)


def points(items: list[AddressRange] | tuple[AddressRange, ...]) -> set[int]:
    return {address for item in items for address in range(item.start, item.end)}


def test_three_regions_follow_the_vector_of_the_kernel() -> None:
    mappings = ranges((10, 20), (20, 25), (200, 210), (210, 220), (300, 305), (307, 330))
    assert three_regions(mappings, unit=1) == ranges((10, 25), (200, 220), (300, 330))


@pytest.mark.parametrize(
    "pairs",
    [(), ((1, 2),), ((1, 2), (5, 6)), ((1, 2), (2, 3), (3, 9)), ((1, 2), (2, 3), (9, 10))],
)
def test_without_two_gaps_there_are_no_regions(pairs: Pairs) -> None:
    assert three_regions(ranges(*pairs), unit=1) == ()


def test_the_first_of_equal_gaps_wins() -> None:
    mappings = ranges((0, 10), (20, 30), (40, 50), (60, 70))
    assert three_regions(mappings, unit=1) == ranges((0, 10), (20, 30), (40, 70))


def test_a_larger_gap_after_two_equal_ones_displaces_the_second() -> None:
    mappings = ranges((0, 10), (20, 30), (40, 50), (70, 80))
    assert three_regions(mappings, unit=1) == ranges((0, 10), (20, 50), (70, 80))


def test_every_bound_is_rounded_up() -> None:
    mappings = ranges((1, 4097), (20_000, 24_576), (90_001, 98_304))
    assert three_regions(mappings) == ranges((4096, 8192), (20_480, 24_576), (90_112, 98_304))


@given(some_ranges)
def test_three_regions_cover_every_mapping_and_leave_out_two_largest_gaps(
    items: list[AddressRange],
) -> None:
    mappings = union(items)
    gaps = subtract(ranges((mappings[0].start, mappings[-1].end)), mappings) if mappings else ()
    found = three_regions(mappings, unit=1)
    if len(gaps) < 2:
        assert found == ()
        return
    assert points(mappings) <= points(found)
    whole = mappings[-1].end - mappings[0].start
    largest = sorted((g.end - g.start for g in gaps), reverse=True)[:2]
    assert total_bytes(found) == whole - sum(largest)


@given(some_ranges, some_ranges)
def test_ranges_are_sets_of_addresses(left: list[AddressRange], right: list[AddressRange]) -> None:
    assert points(union([*left, *right])) == points(left) | points(right)
    assert points(intersect(left, right)) == points(left) & points(right)
    assert points(subtract(left, right)) == points(left) - points(right)
    assert total_bytes(left) == len(points(left))


@given(some_ranges, some_ranges)
def test_results_are_ascending_disjoint_and_not_empty(
    left: list[AddressRange], right: list[AddressRange]
) -> None:
    for found in (union(left), intersect(left, right), subtract(left, right)):
        bounds = [bound for item in found for bound in (item.start, item.end)]
        assert bounds == sorted(set(bounds))


def test_rounding_in_drops_what_is_no_whole_unit() -> None:
    assert round_in(ranges((0x1000, 0x9FC00), (0xA0001, 0xA0FFF)), 4096) == ranges(
        (0x1000, 0x9F000)
    )


@given(
    ranges=st.lists(st.integers(0, 1000), min_size=2, max_size=60, unique=True),
    most=st.integers(1, 12),
)
def test_around_gaps_covers_everything_and_leaves_the_largest_gaps_out(
    ranges: list[int], most: int
) -> None:
    edges = sorted(ranges)[: len(ranges) // 2 * 2]
    inside = [AddressRange(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    found = around_gaps(inside, most)
    assert len(found) == min(most, len(inside))
    assert subtract(inside, found) == ()
    kept = sorted(b.start - a.end for a, b in pairwise(found))
    swallowed = [gap.end - gap.start for gap in subtract(found, inside)]
    assert not kept or not swallowed or max(swallowed) <= kept[0]
