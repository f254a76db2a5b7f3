"""Laws of sampling addresses and of the moving sum."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.region import Region
from damos_agent.algo.sampling import (
    left_bp,
    moving_nr,
    moving_sum,
    moving_unknown,
    pick,
    roll,
)
from tests.algo.regions import UNIT, chains


@given(chains, st.randoms(use_true_random=False))
def test_each_region_gets_a_page_of_its_own(regions: list[Region], rng: Random) -> None:
    picked = pick(regions, rng, UNIT)

    assert len(picked) == len(regions)
    for region, address in zip(regions, picked, strict=True):
        assert region.start <= address <= region.end - UNIT
        assert address % UNIT == 0


def test_every_page_of_a_region_is_equally_likely() -> None:
    region, rng = Region(UNIT, 6 * UNIT), Random(1)

    seen = Counter(pick([region] * 5000, rng, UNIT))

    assert sorted(seen) == [UNIT * n for n in range(1, 6)]
    assert all(880 < count < 1120 for count in seen.values())


@pytest.mark.parametrize(
    ("nr", "last", "left", "expected"),
    [(0, 49, 10_000, 49), (3, 10, 7_000, 10), (3, 10, 5_000, 8), (32, 100, 1_000, 42)],
)
def test_the_moving_sum_follows_the_vectors(nr: int, last: int, left: int, expected: int) -> None:
    assert moving_sum(nr, last, left) == expected
    assert moving_nr(Region(0, 1, nr, last), left) == expected


def test_at_the_end_of_a_window_only_that_window_counts() -> None:
    assert moving_sum(42, 49, 0) == 42


def test_at_the_begin_of_a_window_only_the_last_one_counts() -> None:
    assert moving_sum(7, 49, 10_000) == 49


def test_checks_that_told_nothing_stay_until_their_window_is_wholly_past() -> None:
    region = Region(0, UNIT, last_unknown=1)
    assert moving_unknown(region, 1) == 1
    assert moving_unknown(region, 0) == 0
    assert moving_unknown(Region(0, UNIT, unknown=2, last_unknown=5), 5_000) == 5


@pytest.mark.parametrize(("ticks", "expected"), [(20, 10_000), (7, 3_500), (0, 0), (-3, 0)])
def test_what_is_left_of_a_window_is_in_basis_points(ticks: int, expected: int) -> None:
    assert left_bp(ticks, 20) == expected


def test_a_new_window_begins_with_nothing_counted() -> None:
    region = Region(0, UNIT, nr_accesses=3, last_nr_accesses=1, age=4, unknown=2)

    roll([region])

    assert region == Region(0, UNIT, 0, 3, 4, 0, 2)
