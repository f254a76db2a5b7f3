"""Laws of the controller that turns goals into a quota."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.feedback import (
    feed,
    goal_score,
    psi_delta,
    tune_consist,
    tune_quota,
    tune_temporal,
)
from damos_agent.model.units import ULONG_MAX

scores = st.integers(0, 30_000)
inputs = st.integers(10_000, ULONG_MAX)


@pytest.mark.parametrize(
    ("last", "score", "expected"),
    [
        (10_000, 0, 20_000),
        (10_000, 5_000, 15_000),
        (40_960_000, 5_000, 61_440_000),
        (40_960_000, 10_000, 40_960_000),
        (40_960_000, 12_000, 32_768_000),
        (40_960_000, 15_000, 20_480_000),
        (40_960_000, 20_000, 10_000),
        (40_960_000, 1 << 70, 10_000),
        (900_000, 200, 1_782_000),
        (900_000, 2_000, 1_620_000),
        (ULONG_MAX, 0, ULONG_MAX),
        (12_000, 15_000, 10_000),
    ],
)
def test_the_loop_follows_the_vectors(last: int, score: int, expected: int) -> None:
    assert feed(last, score) == expected


@given(inputs, scores, scores)
def test_more_achieved_is_never_more_action(last: int, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert feed(last, low) >= feed(last, high)


@given(inputs, scores)
def test_the_loop_stays_in_bounds_and_at_most_doubles(last: int, score: int) -> None:
    assert 10_000 <= feed(last, score) <= min(2 * last, ULONG_MAX)


@pytest.mark.parametrize(
    ("steps", "size"), [(12, 4096), (20, 1 << 20), (30, 1 << 30), (40, 1 << 40)]
)
def test_from_the_floor_the_quota_doubles(steps: int, size: int) -> None:
    esz_bp = tune_consist(0, 10_000)
    for _ in range(steps):
        esz_bp = tune_consist(esz_bp, 0)
    assert esz_bp // 10_000 == size


@pytest.mark.parametrize(
    ("quota", "score", "expected"),
    [
        (0, 10_000, 0),
        (4096, 10_001, 0),
        (4096, 9_999, 40_960_000),
        (0, 0, ULONG_MAX),
        (ULONG_MAX // 10_000, 0, ULONG_MAX // 10_000 * 10_000),
        (ULONG_MAX // 10_000 + 1, 0, ULONG_MAX),
    ],
)
def test_temporal_is_all_or_nothing(quota: int, score: int, expected: int) -> None:
    assert tune_temporal(quota, score) == expected


@pytest.mark.parametrize(
    ("current", "target", "expected"),
    [(0, 5, 0), (5, 5, 10_000), (1, 3, 3_333), (9, 3, 30_000), (0, 0, 10_000)],
)
def test_a_goal_is_scored_in_basis_points(current: int, target: int, expected: int) -> None:
    assert goal_score(current, target) == expected


@pytest.mark.parametrize(
    ("total", "previous", "expected"), [(900, None, None), (900, 400, 500), (300, 400, None)]
)
def test_stall_time_is_since_the_previous_measurement(
    total: int, previous: int | None, expected: int | None
) -> None:
    assert psi_delta(total, previous) == expected


def test_the_goal_that_wants_least_wins() -> None:
    assert tune_quota("consist", 20_000, (5_000, 12_000, 0), 0) == feed(20_000, 12_000)


@pytest.mark.parametrize("measured", [(), (None,)])
@pytest.mark.parametrize("esz_bp", [0, 40_960_000])
def test_what_was_not_measured_keeps_the_verdict(
    measured: Sequence[int | None], esz_bp: int
) -> None:
    assert tune_quota("temporal", esz_bp, measured, 4096) == esz_bp
    assert tune_quota("consist", esz_bp, measured, 4096) == max(esz_bp, 10_000)


def test_a_goal_not_measured_leaves_it_to_the_others_under_temporal() -> None:
    assert tune_quota("temporal", 40_960_000, (None, 10_000), 4096) == 0
    assert tune_quota("temporal", 0, (None, 0), 4096) == 0
    assert tune_quota("temporal", 40_960_000, (None, 0), 4096) == 40_960_000
