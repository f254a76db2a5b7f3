"""Laws of splitting."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.merge import size_limit
from damos_agent.algo.region import Region
from damos_agent.algo.split import enforce_min, split, split_at
from tests.algo.regions import UNIT, bounds, chains, covered


def many(count: int, pages: int = 100) -> list[Region]:
    return [Region(n * pages * UNIT, (n + 1) * pages * UNIT, age=n) for n in range(count)]


def run(
    targets: list[list[Region]],
    max_nr: int,
    *,
    previous: int = 0,
    rotation: int = 0,
    rng: Random | None = None,
) -> list[list[Region]]:
    return split(
        targets,
        max_nr=max_nr,
        min_unit=UNIT,
        previous_count=previous,
        rotation=rotation,
        rng=rng or Random(1),
    )


def test_both_parts_of_a_cut_know_what_the_whole_knew() -> None:
    left, right = split_at(Region(0, 8, 1, 2, 3, 4, 5), 6)
    assert (left, right) == (Region(0, 6, 1, 2, 3, 4, 5), Region(6, 8, 1, 2, 3, 4, 5))


@pytest.mark.parametrize("count", [10, 11])
def test_no_region_is_cut_at_the_limit(count: int) -> None:
    assert bounds(run([many(count)], 10)[0]) == bounds(many(count))


@pytest.mark.parametrize("count", [1, 4, 5])
def test_up_to_half_of_the_limit_every_region_is_cut_in_two(count: int) -> None:
    assert len(run([many(count)], 10)[0]) == 2 * count


def test_the_same_number_again_cuts_in_three() -> None:
    assert len(run([many(3)], 12, previous=3)[0]) == 9


@pytest.mark.parametrize(("count", "previous"), [(3, 2), (4, 4)])
def test_two_parts_when_the_number_changed_or_a_third_is_reached(count: int, previous: int) -> None:
    assert len(run([many(count)], 12, previous=previous)[0]) == 2 * count


def test_beyond_half_every_kth_region_is_cut() -> None:
    """Since 7.3: 12 of 16, so every fourth."""
    cut = run([many(12)], 16)[0]
    assert [r.age for r in cut] == [0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11]


def test_each_call_begins_elsewhere() -> None:
    ages = [region.age for region in run([many(12)], 16, rotation=1)[0]]
    assert sorted(n for n in range(12) if ages.count(n) == 2) == [3, 7, 11]


def test_every_kth_counts_on_through_the_targets() -> None:
    cut = run([many(6), many(6)], 16)
    assert [len(regions) for regions in cut] == [8, 7]


@pytest.mark.parametrize(("pages", "parts"), [(1, {1}), (2, {1}), (3, {1, 2})])
def test_too_small_regions_stay_whole_below_half(pages: int, parts: set[int]) -> None:
    rng = Random(1)
    seen = {len(run([many(1, pages)], 10, rng=rng)[0]) for _ in range(50)}
    assert seen == parts


@pytest.mark.parametrize(("pages", "most"), [(1, 3), (2, 5)])
def test_two_units_are_enough_beyond_half(pages: int, most: int) -> None:
    rng = Random(1)
    assert max(len(run([many(3, pages)], 5, rng=rng)[0]) for _ in range(50)) == most


def test_a_cut_is_after_one_to_nine_tenths() -> None:
    rng = Random(1)
    lefts = {run([many(1, 1000)], 10, rng=rng)[0][0].size for _ in range(300)}
    assert lefts == {tenths * 100 * UNIT for tenths in range(1, 10)}


@given(
    chains,
    chains,
    st.integers(1, 60),
    st.integers(0, 12),
    st.integers(0, 9),
    st.randoms(use_true_random=False),
)
def test_splitting_keeps_bytes_units_and_the_limit(
    one: list[Region], other: list[Region], max_nr: int, previous: int, turn: int, rng: Random
) -> None:
    before, count = [covered(one), covered(other)], len(one) + len(other)
    cut = run([one, other], max_nr, previous=previous, rotation=turn, rng=rng)
    assert [covered(regions) for regions in cut] == before
    assert all(r.start % UNIT == 0 for regions in cut for r in regions)
    assert count <= sum(map(len, cut)) <= max(max_nr, count)


@pytest.mark.parametrize(
    ("total", "unit", "least", "pieces"),
    [
        (10, 1, 10, [(n, n + 1) for n in range(10)]),
        (10, 1, 15, [(n, n + 1) for n in range(10)]),
        (10, 2, 2, [(0, 6), (6, 10)]),
        (10, 2, 10, [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]),
    ],
)
def test_too_large_regions_are_cut_to_the_size_limit(
    total: int, unit: int, least: int, pieces: list[tuple[int, int]]
) -> None:
    assert bounds(enforce_min([Region(0, total)], size_limit(total, least, unit))) == pieces


@given(chains, st.integers(1, 30))
def test_there_are_at_least_as_many_regions_as_wanted(regions: list[Region], least: int) -> None:
    """Where memory is large enough: each piece is one unit short of its share at most."""
    before = covered(regions)
    total = sum(r.size for r in regions)
    limit = size_limit(total, least, UNIT)
    cut = enforce_min(regions, limit)
    assert covered(cut) == before
    assert all(r.size <= limit for r in cut)
    assert len(cut) * limit >= total
    if total % (least * UNIT) == 0:
        assert len(cut) >= (least if total else 0)
