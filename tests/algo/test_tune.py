"""Laws of tuning the intervals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.algo.tune import adaptation_bp, observed_bp, tune
from damos_agent.model.policy import IntervalsGoal

NOW = Intervals(100_000, 2_000_000)


def goal(low: int = 5_000, high: int = 10_000_000) -> IntervalsGoal:
    return IntervalsGoal(400, 3, low, high)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0, 20_000),
        (2_500, 17_500),
        (5_000, 15_000),
        (9_000, 11_000),
        (10_000, 10_000),
        (11_000, 9_500),
        (15_000, 7_500),
        (20_000, 5_000),
        (250_000, 5_000),
    ],
)
def test_the_factor_follows_the_vectors(score: int, expected: int) -> None:
    assert adaptation_bp(score) == expected


def test_what_is_observed_counts_by_bytes() -> None:
    """30 of 100 bytes at half, so 15 % of the possible, wanted are 4 %."""
    targets = [[Region(0, 30, nr_accesses=10)], [Region(0, 70)]]
    assert observed_bp(targets, 20, 400) == 37_500


def test_only_the_current_window_counts() -> None:
    assert observed_bp([[Region(0, 30, last_nr_accesses=10)]], 20, 400) == 0


def test_no_memory_is_no_access() -> None:
    assert observed_bp([], 20, 400) == 0


def test_nothing_seen_doubles_the_intervals() -> None:
    assert tune([[Region(0, 100)]], NOW, goal(), 20) == Intervals(200_000, 4_000_000)


def test_too_much_seen_halves_them() -> None:
    busy = [[Region(0, 100, nr_accesses=20)]]
    assert tune(busy, NOW, goal(), 20) == Intervals(50_000, 1_000_000)


def test_the_wanted_share_keeps_them_even_out_of_bounds() -> None:
    as_wanted = [[Region(0, 4, nr_accesses=20), Region(4, 100)]]
    assert tune(as_wanted, NOW, goal(high=90_000), 20) == NOW


@pytest.mark.parametrize(("nr", "sample_us"), [(0, 150_000), (20, 70_000)])
def test_the_sample_interval_stays_in_bounds(nr: int, sample_us: int) -> None:
    tuned = tune([[Region(0, 9, nr)]], NOW, goal(70_000, 150_000), 20)
    assert tuned == Intervals(sample_us, sample_us * 20)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 10_000))
def test_a_step_at_most_doubles_and_halves(nr: int, samples: int, sample_us: int) -> None:
    now = Intervals(sample_us, sample_us * samples)
    tuned = tune([[Region(0, 9, min(nr, samples))]], now, goal(0), samples)
    assert sample_us // 2 <= tuned.sample_us <= 2 * sample_us
    assert tuned.aggr_us == tuned.sample_us * samples
