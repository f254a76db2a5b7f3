"""Laws of monitoring attributes and of changing them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.attrs import rescale, valid_attrs
from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.model.damon import ContextSpec
from damos_agent.model.feature import Ops
from tests.algo.regions import chains

VALID = ContextSpec(Ops.VADDR, (), ())
TUNED = replace(
    VALID, goal_aggrs=3, goal_access_bp=400, goal_min_sample_us=5_000, goal_max_sample_us=9_000
)


def intervals(samples: int, sample_us: int = 1_000) -> Intervals:
    return Intervals(sample_us, sample_us * samples)


@pytest.mark.parametrize(
    "spec",
    [
        VALID,
        TUNED,
        replace(VALID, min_nr_regions=3, max_nr_regions=3),
        replace(VALID, sample_us=100_000),
        replace(VALID, goal_min_sample_us=9, goal_max_sample_us=1),
    ],
)
def test_what_damon_takes(spec: ContextSpec) -> None:
    assert valid_attrs(spec)


@pytest.mark.parametrize(
    "spec",
    [
        replace(VALID, min_nr_regions=2),
        replace(VALID, min_nr_regions=11, max_nr_regions=10),
        replace(VALID, sample_us=100_001),
        replace(TUNED, goal_min_sample_us=5_001),
        replace(TUNED, goal_max_sample_us=4_999),
        replace(TUNED, goal_min_sample_us=9_001),
    ],
)
def test_what_damon_refuses(spec: ContextSpec) -> None:
    assert not valid_attrs(spec)


@pytest.mark.parametrize(
    ("count", "old", "new", "expected"),
    [(15, 100, 100, 15), (15, 100, 1000, 150), (10, 20, 40, 20), (1, 20, 10, 0), (1, 3, 3, 0)],
)
def test_counts_follow_the_vectors(count: int, old: int, new: int, expected: int) -> None:
    region = Region(0, 1, nr_accesses=count, last_nr_accesses=count)
    rescale([region], intervals(old), intervals(new), at_boundary=True)
    assert (region.nr_accesses, region.last_nr_accesses) == (expected, expected)


def test_ages_stay_what_they_are_in_time() -> None:
    region = Region(0, 1, age=20)
    rescale([region], Intervals(100, 1_000), Intervals(100, 10_000), at_boundary=True)
    assert region.age == 2


def test_an_unfinished_window_starts_over() -> None:
    region = Region(0, 1, nr_accesses=5, last_nr_accesses=10, unknown=3)
    rescale([region], intervals(20), intervals(40), at_boundary=False)
    assert region == Region(0, 1, nr_accesses=0, last_nr_accesses=20)


def test_intervals_of_zero_change_nothing() -> None:
    region = Region(0, 1, nr_accesses=5, age=3)
    rescale([region], Intervals(0, 1_000), Intervals(1_000, 9_000), at_boundary=False)
    assert region == Region(0, 1, nr_accesses=5, age=3)


@given(chains, st.integers(20, 50), st.integers(1, 50), st.booleans())
def test_the_unknown_stays_unknown(
    regions: list[Region], old: int, new: int, boundary: bool
) -> None:
    for region in regions:
        region.last_unknown = region.unknown
    known = [not r.unknown for r in regions]
    rescale(regions, intervals(old), intervals(new), at_boundary=boundary)
    assert [not r.last_unknown for r in regions] == known
    assert not boundary or [not r.unknown for r in regions] == known
    assert all(max(r.last_unknown, r.unknown, r.nr_accesses) <= new for r in regions)
