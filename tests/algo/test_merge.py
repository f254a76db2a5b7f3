"""Laws of ageing and merging."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.merge import age_and_merge, merge_to_limit, size_limit
from damos_agent.algo.region import Region
from tests.algo.regions import SAMPLES, UNIT, bounds, chains, copies, covered

NO_LIMIT = 1 << 60


def test_merging_averages_by_size() -> None:
    # One window older each by the ageing that comes first.
    regions = [Region(0, 100, 10, 10, age=8), Region(100, 300, 20, 20, age=20)]
    assert age_and_merge(regions, 10, NO_LIMIT) == [Region(0, 300, 16, 10, age=17)]


def test_merging_follows_the_vector_of_the_kernel() -> None:
    starts = (0, 100, 114, 122, 130, 156, 170, 184, 230)
    ends = (100, 112, 122, 130, 156, 170, 184, 230, 10170)
    counts = (0, 0, 10, 10, 20, 30, 1, 2, 5)
    regions = [Region(a, b, nr) for a, b, nr in zip(starts, ends, counts, strict=True)]

    merged = age_and_merge(regions, 9, 9_999)

    assert bounds(merged) == [
        (0, 112), (114, 130), (130, 156), (156, 170), (170, 230), (230, 10_170),
    ]  # fmt: skip


def test_regions_with_a_gap_between_do_not_merge() -> None:
    assert len(age_and_merge([Region(0, 4), Region(5, 8)], 0, NO_LIMIT)) == 2


@pytest.mark.parametrize(("difference", "count"), [(2, 1), (3, 2)])
def test_regions_merge_up_to_the_threshold(difference: int, count: int) -> None:
    regions = [Region(0, 4, nr_accesses=5), Region(4, 8, nr_accesses=5 - difference)]
    assert len(age_and_merge(regions, 2, NO_LIMIT)) == count


@pytest.mark.parametrize(("limit", "count"), [(8, 1), (7, 2)])
def test_no_merge_exceeds_the_size_limit(limit: int, count: int) -> None:
    assert len(age_and_merge([Region(0, 4), Region(4, 8)], 0, limit)) == count


@pytest.mark.parametrize(
    ("nr", "last", "threshold", "age"),
    [
        (5, 5, 0, 8),
        (5, 7, 2, 8),
        (7, 5, 2, 8),
        (5, 8, 2, 0),
        (8, 5, 2, 0),
        (0, 0, 2, 8),
        (0, 1, 2, 0),
        (1, 0, 2, 0),
    ],
)
def test_age_starts_over_when_the_pattern_changed(
    nr: int, last: int, threshold: int, age: int
) -> None:
    assert age_and_merge([Region(0, 4, nr, last, age=7)], threshold, NO_LIMIT)[0].age == age


def test_what_nobody_can_see_does_not_drown_in_an_idle_neighbour() -> None:
    regions = [Region(0, 1000), Region(1000, 1001, unknown=SAMPLES)]
    assert len(age_and_merge(regions, 0, NO_LIMIT)) == 2


def test_a_forced_merge_never_rounds_the_unknown_away() -> None:
    regions = [Region(0, 1000), Region(1000, 1001, unknown=SAMPLES)]
    merged = merge_to_limit([regions], max_nr=1, threshold=0, samples=SAMPLES, size_limit=NO_LIMIT)
    assert merged == [[Region(0, 1001, unknown=1)]]


def test_unlike_regions_merge_when_there_are_too_many_of_them() -> None:
    regions = [Region(n, n + 1, nr) for n, nr in enumerate((0, 4, 20))]
    merged = merge_to_limit([regions], max_nr=2, threshold=0, samples=SAMPLES, size_limit=NO_LIMIT)
    assert bounds(merged[0]) == [(0, 2), (2, 3)]


@pytest.mark.parametrize(("samples", "nr"), [(1, 1), (3, 3), (20, 20)])
def test_the_threshold_rises_to_all_samples(samples: int, nr: int) -> None:
    """The last pass must find everything alike, for any number of samples."""
    regions = [Region(0, 1), Region(1, 2, nr)]
    merged = merge_to_limit([regions], max_nr=1, threshold=0, samples=samples, size_limit=NO_LIMIT)
    assert bounds(merged[0]) == [(0, 2)]


def test_further_passes_do_not_age() -> None:
    regions = [Region(n, n + 1, nr, nr, age=3) for n, nr in enumerate((1, 5, 9, 13))]
    merged = merge_to_limit([regions], max_nr=1, threshold=0, samples=SAMPLES, size_limit=NO_LIMIT)
    assert merged[0][0].age == 4


def test_the_limit_is_on_the_regions_of_all_targets() -> None:
    targets = [[Region(0, 1), Region(1, 2, 1)], [Region(0, 1), Region(1, 2, 1)]]
    merged = merge_to_limit(targets, max_nr=3, threshold=0, samples=20, size_limit=NO_LIMIT)
    assert [len(regions) for regions in merged] == [1, 1]


def test_enough_room_leaves_unlike_regions_apart() -> None:
    targets = [[Region(0, 1), Region(1, 2, 1)]]
    merged = merge_to_limit(targets, max_nr=2, threshold=0, samples=20, size_limit=NO_LIMIT)
    assert len(merged[0]) == 2


@given(chains, chains, st.integers(1, 6), st.integers(0, 3))
def test_merging_keeps_bytes_and_the_limit(
    one: list[Region], other: list[Region], max_nr: int, threshold: int
) -> None:
    before = [covered(one), covered(other)]
    merged = merge_to_limit(
        [one, other], max_nr=max_nr, threshold=threshold, samples=SAMPLES, size_limit=NO_LIMIT
    )
    assert [covered(regions) for regions in merged] == before
    assert sum(map(len, merged)) <= max(max_nr, sum(map(len, before)))


@given(chains, st.integers(1, 100), st.integers(0, SAMPLES))
def test_merged_regions_obey_the_size_limit_and_are_between_their_parts(
    regions: list[Region], pages: int, threshold: int
) -> None:
    parts = copies(regions)
    merged = age_and_merge(regions, threshold, pages * UNIT)
    for region in merged:
        inside = [p for p in parts if region.start <= p.start < region.end]
        assert len(inside) == 1 or region.size <= pages * UNIT
        counts = [p.nr_accesses for p in inside]
        assert min(counts) <= region.nr_accesses <= max(counts)
        assert region.age <= max(p.age for p in inside) + 1
        assert bool(region.unknown) == any(p.unknown for p in inside)


@given(chains, st.integers(0, 3))
def test_no_age_grows_by_more_than_one_per_window(regions: list[Region], threshold: int) -> None:
    oldest = max((r.age for r in regions), default=0)
    merged = merge_to_limit(
        [regions], max_nr=1, threshold=threshold, samples=SAMPLES, size_limit=NO_LIMIT
    )
    assert all(r.age <= oldest + 1 for r in merged[0])


@pytest.mark.parametrize(
    ("total", "unit", "least", "limit"),
    [(10, 1, 10, 1), (10, 1, 15, 1), (10, 2, 2, 6), (10, 2, 10, 2)],
)
def test_the_size_limit_follows_the_vectors(total: int, unit: int, least: int, limit: int) -> None:
    assert size_limit(total, least, unit) == limit
