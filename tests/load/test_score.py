# SPDX-License-Identifier: Apache-2.0
"""Scores of hand-made snapshots."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.score import Overlap, Region, Thresholds, overlaps, score

TRUTH = [Region(0, 100, 0.0, 9.0), Region(100, 200, 1.0, 9.0), Region(200, 400, 0.0, 1.0)]


def test_the_truth_itself_is_perfect() -> None:
    """Nothing is wrong with it."""
    found = score(TRUTH, TRUTH)
    assert (found.hot.precision, found.hot.recall, found.hot.f1) == (1, 1, 1)
    assert (found.cold.true, found.cold.found, found.cold.both) == (300, 300, 300)
    assert (found.working_set_error, found.rate_error, found.age_error_s) == (0, 0, 0)
    assert (found.hot_as_cold, found.uncovered) == (0, 0)


def test_a_region_across_the_edge_is_wrong_by_the_bytes_beyond() -> None:
    """[50, 150) said to be hot: half of it is, and half of the hot bytes are in it."""
    found = score(TRUTH, [Region(0, 50, 0), Region(50, 150, 1.0), Region(150, 400, 0)])
    assert (found.hot.true, found.hot.found, found.hot.both) == (100, 100, 50)
    assert (found.hot.precision, found.hot.recall, found.hot.f1) == (0.5, 0.5, 0.5)
    assert found.working_set_error == 0
    assert found.rate_error == pytest.approx(100 / 400)
    assert found.hot_as_cold == 50


def test_one_region_for_everything_has_the_mean_rate_and_finds_nothing() -> None:
    """That is what a monitor with too few regions says."""
    found = score(TRUTH, [Region(0, 400, 0.25, 5.0)])
    assert (found.hot.found, found.hot.precision, found.hot.recall) == (0, 1, 0)
    assert found.hot.f1 == 0
    assert found.working_set_error == -1
    assert found.rate_error == pytest.approx((300 * 0.25 + 100 * 0.75) / 400)
    assert (found.cold.found, found.hot_as_cold) == (0, 0)


def test_what_is_not_covered_is_not_found_and_has_no_error() -> None:
    """Holes of the snapshot count against recall, and are told."""
    found = score(TRUTH, [Region(110, 120, 1.0, 9.0), Region(350, 500, 0.0, 1.0)])
    assert (found.uncovered, found.hot.both, found.hot.recall) == (340, 10, 0.1)
    assert (found.rate_error, found.age_error_s) == (0, 0)
    assert found.cold.found == 50


def test_what_is_said_of_other_memory_does_not_count() -> None:
    """Monitors also see code and stack."""
    more = [Region(-50, -10, 1.0), *TRUTH, Region(400, 900, 1.0)]
    assert score(TRUTH, more) == score(TRUTH, TRUTH)


def test_cold_needs_the_age() -> None:
    """Only [0, 100) has been idle for 5 s; the snapshot takes half of it, and 50 others."""
    snapshot = [Region(50, 100, 0.0, 8.0), Region(200, 250, 0.0, 8.0), Region(250, 400, 0.0, 0.0)]
    cold = score(TRUTH, snapshot, Thresholds(min_age_s=5.0)).cold
    assert (cold.true, cold.found, cold.both) == (100, 100, 50)


def test_ages_are_compared_where_both_agree_about_hot() -> None:
    """100 bytes are 2 s off; those of the other opinion are 9 s off and do not count."""
    found = score(TRUTH[:2], [Region(0, 100, 0.1, 7.0), Region(100, 200, 0.1, 0.0)])
    assert found.age_error_s == 2.0


def test_nothing_hot_and_nothing_found_is_right() -> None:
    """No division by zero."""
    cold = [Region(0, 100, 0.0)]
    assert (score(cold, cold).working_set_error, score(cold, cold).hot.f1) == (0, 1)
    assert score(cold, [Region(0, 100, 1.0)]).working_set_error == 1
    assert score(cold, []).rate_error == 0


def test_overlaps_are_cut_where_either_changes() -> None:
    """A region may reach over several pieces, and a piece over several regions."""
    a, b = TRUTH[:2]
    one, two = Region(50, 60, 0.1), Region(70, 300, 0.2)
    cut = [(50, a, None), (10, a, one), (10, a, None), (30, a, two), (100, b, two)]
    assert list(overlaps([a, b], [one, two])) == [Overlap(*words) for words in cut]


def test_regions_out_of_order_are_refused() -> None:
    """Silently they would score badly."""
    with pytest.raises(ValueError, match="comes before"):
        score(TRUTH, [Region(0, 60, 0), Region(50, 70, 0)])


EDGES = st.sets(st.integers(0, 50), min_size=2).map(sorted)
SNAPSHOTS = st.builds(
    lambda edges, rates: [
        Region(*ends, rate) for ends, rate in zip(pairwise(edges), rates, strict=False)
    ],
    EDGES,
    st.lists(st.floats(0, 1), max_size=50),
)


@given(SNAPSHOTS, SNAPSHOTS)
def test_no_byte_is_lost_or_counted_twice(truth: list[Region], snapshot: list[Region]) -> None:
    """The overlaps are the truth, whatever the snapshot; shares stay within bounds."""
    assert sum(one.size for one in overlaps(truth, snapshot)) == sum(b - a for a, b, *_ in truth)
    found = score(truth, snapshot)
    assert found.hot.both <= min(found.hot.true, found.hot.found)
    assert 0 <= found.hot.f1 <= 1
    assert 0 <= found.rate_error <= 1
