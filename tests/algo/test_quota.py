"""Laws of quotas."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.actor import Applied
from damos_agent.algo.quota import (
    QuotaState,
    adjust,
    bytes_per_ms,
    charge,
    charge_of,
    effective_bytes,
    is_full,
    is_limited,
)
from damos_agent.model.damon import GoalSpec, SchemeSpec
from damos_agent.model.units import ULONG_MAX

PAGE, MIB = 4096, 1 << 20
SIZED = SchemeSpec("pageout", quota_bytes=10 * PAGE, reset_interval_ms=1_000)
TIMED = SchemeSpec("pageout", quota_ms=10, reset_interval_ms=1_000)
GOAL = SchemeSpec("pageout", reset_interval_ms=1_000, goals=(GoalSpec("user_input", 100),))
TIMED_STATE = QuotaState(total_charged=8 * MIB, total_ns=4_000_000)


@pytest.mark.parametrize(
    ("spec", "limited"),
    [(SIZED, True), (TIMED, True), (GOAL, True), (SchemeSpec("pageout"), False)],
)
def test_size_time_or_goals_are_a_quota(spec: SchemeSpec, limited: bool) -> None:
    assert is_limited(spec) is limited


@pytest.mark.parametrize(
    ("esz", "charged", "full"),
    [
        (10 * PAGE, 9 * PAGE, False),
        (10 * PAGE, 9 * PAGE + 1, True),
        (10 * PAGE, 10 * PAGE, True),
        (10 * PAGE, 11 * PAGE, True),
        (0, 0, True),
        (PAGE - 1, 0, True),
    ],
)
def test_a_quota_without_room_for_a_page_is_full(esz: int, charged: int, full: bool) -> None:
    assert is_full(QuotaState(esz=esz, charged=charged), PAGE) is full


def test_even_a_unit_of_one_byte_needs_room() -> None:
    assert is_full(QuotaState(esz=5, charged=5), 0)


def test_the_first_window_is_limited() -> None:
    state = adjust(SIZED, QuotaState(), 77, PAGE)
    assert (state.started_us, state.esz) == (77, 10 * PAGE)


@pytest.mark.parametrize(
    ("now_us", "rolls"), [(77, False), (1_000_076, False), (1_000_077, True), (76, True)]
)
def test_a_window_lasts_its_reset_interval(now_us: int, rolls: bool) -> None:
    state = replace(adjust(SIZED, QuotaState(), 77, PAGE), charged=PAGE)

    later = adjust(SIZED, state, now_us, PAGE)

    assert (later == state) is not rolls
    if rolls:
        assert (later.started_us, later.charged, later.total_charged) == (now_us, 0, PAGE)


@pytest.mark.parametrize(("charged", "exceeds"), [(9 * PAGE, 0), (10 * PAGE, 1)])
def test_windows_that_ended_full_are_counted(charged: int, exceeds: int) -> None:
    state = replace(adjust(SIZED, QuotaState(), 0, PAGE), charged=charged)
    assert adjust(SIZED, state, 1_000_000, PAGE).exceeds == exceeds


def test_without_a_quota_nothing_is_adjusted() -> None:
    assert adjust(SchemeSpec("pageout"), QuotaState(), 5, PAGE) == QuotaState()


def test_throughput_is_a_guess_until_something_was_timed() -> None:
    assert bytes_per_ms(QuotaState(total_charged=5)) == 4 * MIB
    assert bytes_per_ms(QuotaState(total_ns=5)) == 4 * MIB
    assert bytes_per_ms(TIMED_STATE) == 2 * MIB


@pytest.mark.parametrize(
    ("spec", "state", "expected"),
    [
        (SIZED, TIMED_STATE, 10 * PAGE),
        (TIMED, QuotaState(), 40 * MIB),
        (TIMED, TIMED_STATE, 20 * MIB),
        (TIMED, QuotaState(total_charged=1, total_ns=10**12), PAGE),
        (replace(TIMED, quota_bytes=PAGE), QuotaState(), PAGE),
        (replace(TIMED, quota_bytes=50 * MIB), QuotaState(), 40 * MIB),
        (GOAL, QuotaState(esz_bp=12_345_678), 1_234),
        (replace(GOAL, quota_bytes=1_000), QuotaState(esz_bp=12_345_678), 1_000),
        (replace(GOAL, quota_ms=10), QuotaState(esz_bp=12_345_678), 1_234),
        (replace(GOAL, quota_ms=10), QuotaState(esz_bp=ULONG_MAX), 40 * MIB),
        (GOAL, QuotaState(esz_bp=0), 0),
    ],
)
def test_the_least_of_all_caps_is_effective(
    spec: SchemeSpec, state: QuotaState, expected: int
) -> None:
    assert effective_bytes(spec, state, PAGE) == expected


def test_goals_are_measured_once_per_window() -> None:
    measured: list[int] = []

    def scores() -> list[int | None]:
        measured.append(1)
        return [0]

    state = adjust(GOAL, QuotaState(), 0, PAGE, scores)
    assert (state.esz_bp, len(measured)) == (20_000, 1)
    state = adjust(GOAL, state, 999_999, PAGE, scores)
    assert (state.esz_bp, len(measured)) == (20_000, 1)
    state = adjust(GOAL, state, 1_000_000, PAGE, scores)
    assert (state.esz_bp, len(measured)) == (40_000, 2)


def test_a_met_goal_stops_the_temporal_tuner() -> None:
    spec = replace(GOAL, goal_tuner="temporal", quota_bytes=5 * PAGE)
    state = adjust(spec, QuotaState(), 0, PAGE, lambda: [9_999])
    assert state.esz == 5 * PAGE
    assert adjust(spec, state, 1_000_000, PAGE, lambda: [10_000]).esz == 0


@pytest.mark.parametrize(
    ("num", "denom", "size", "applied", "expected"),
    [
        (0, 0, 1000 * MIB, 700 * MIB, 1000 * MIB),
        (1, 1024, 1000 * MIB, 700 * MIB, 700 * MIB + 300 * 1024),
        (0, 1, 1000, 700, 700),
        (1, 1024, 1000, 1001, 1000),
        (1, 1024, 1000, 1000, 1000),
    ],
)
def test_failed_bytes_may_be_cheaper(
    num: int, denom: int, size: int, applied: int, expected: int
) -> None:
    spec = replace(SIZED, fail_charge_num=num, fail_charge_denom=denom)
    assert charge_of(spec, size, applied) == expected


def test_charging_counts_bytes_and_time() -> None:
    state = charge(SIZED, QuotaState(charged=1, total_ns=10), 100, Applied(60, 7))
    assert state == QuotaState(charged=101, total_ns=17)


def test_throughput_comes_from_closed_windows() -> None:
    state = charge(
        TIMED, adjust(TIMED, QuotaState(), 0, PAGE), 8 * MIB, Applied(8 * MIB, 4_000_000)
    )
    assert adjust(TIMED, state, 1_000_000, PAGE).esz == 20 * MIB


def test_trials_take_time_and_tell_nothing_of_the_throughput() -> None:
    """Pages that are paged out one by one take ten times as long."""
    state = adjust(TIMED, QuotaState(), 0, PAGE)
    state = charge(TIMED, state, MIB, Applied(MIB, 5_000_000, trial_bytes=MIB, trial_ns=5_000_000))
    assert (state.charged, state.left_ns, state.total_ns) == (MIB, 5_000_000, 0)
    state = charge(TIMED, state, 8 * MIB, Applied(8 * MIB, 4_000_000))
    assert adjust(TIMED, state, 1_000_000, PAGE).esz == 20 * MIB


def test_a_window_ends_with_its_time() -> None:
    """However many bytes it may still charge."""
    state = charge(TIMED, adjust(TIMED, QuotaState(), 0, PAGE), PAGE, Applied(PAGE, 9_999_999))
    assert not is_full(state, PAGE)
    state = charge(TIMED, state, PAGE, Applied(PAGE, 4_000_001))
    assert is_full(state, PAGE)
    state = adjust(TIMED, state, 1_000_000, PAGE)
    assert state.left_ns == 10_000_000
    assert not is_full(state, PAGE)
    assert adjust(SIZED, state, 2_000_000, PAGE).left_ns is None


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 9), st.integers(1, 9))
def test_never_more_is_charged_than_tried(size: int, applied: int, num: int, denom: int) -> None:
    spec = replace(SIZED, fail_charge_num=min(num, denom), fail_charge_denom=denom)
    assert min(applied, size) <= charge_of(spec, size, applied) <= size
