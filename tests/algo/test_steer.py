"""The agent's tuner, one step and many: on plants, beside the kernel's laws and senpai's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.steer import Bounds, Reason, Steering, begin, lower_to, steer, worst
from tests.algo.plant import (
    CAP,
    MIB,
    SEED,
    Plant,
    consist,
    play,
    play_ours,
    senpai,
    temporal,
)

BOUNDS = Bounds(floor=4096, cap=CAP, seed=SEED)
AT = Steering(quota=64 * MIB, knee=256 * MIB, score_bp=5_000)


@pytest.mark.parametrize(
    ("state", "score", "used", "quota", "reason"),
    [
        (AT, 5_000, 64 * MIB, 96 * MIB, Reason.BELOW_GOAL),
        (AT, 0, 64 * MIB, 128 * MIB, Reason.BELOW_GOAL),
        (replace(AT, knee=100 * MIB), 0, 64 * MIB, 100 * MIB, Reason.BELOW_GOAL),
        (replace(AT, knee=64 * MIB), 0, 64 * MIB, 80 * MIB, Reason.BELOW_GOAL),
        (AT, 9_000, 64 * MIB, 64 * MIB, Reason.MET),
        (AT, 10_000, 64 * MIB, 64 * MIB, Reason.MET),
        (AT, 12_500, 64 * MIB, 64 * MIB * 4 // 5, Reason.OVER_GOAL),
        (AT, 1_000_000, 64 * MIB, 8 * MIB, Reason.OVER_GOAL),
        (replace(AT, score_bp=30_000), 20_000, 64 * MIB, 64 * MIB, Reason.FALLING),
        (replace(AT, score_bp=30_000), 29_000, 64 * MIB, 64 * MIB * 10 // 29, Reason.OVER_GOAL),
        (AT, None, 64 * MIB, 32 * MIB, Reason.NO_INPUT),
        (AT, 0, 31 * MIB, 62 * MIB, Reason.UNUSED),
        (AT, 0, 0, 56 * MIB, Reason.UNUSED),
        (replace(AT, quota=SEED), 0, 0, SEED, Reason.UNUSED),
        (replace(AT, waits=2), 0, 64 * MIB, 64 * MIB, Reason.LAGGING),
        (replace(AT, quota=CAP, knee=CAP), 0, CAP, CAP, Reason.AT_CAP),
    ],
)
def test_one_step(
    state: Steering, score: int | None, used: int, quota: int, reason: Reason
) -> None:
    found = steer(state, score, used, BOUNDS)
    assert found.quota == pytest.approx(quota, abs=1)
    assert found.reason is reason


@given(
    state=st.builds(
        Steering,
        quota=st.integers(4096, CAP),
        knee=st.integers(4096, CAP),
        waits=st.integers(0, 5),
        score_bp=st.none() | st.integers(0, 10**9),
    ),
    score=st.none() | st.integers(0, 10**9),
    used=st.integers(0, CAP),
)
def test_laws(state: Steering, score: int | None, used: int) -> None:
    """Within the bounds; at most doubled; never raised without input, or by more than enough."""
    found = steer(state, score, used, BOUNDS)
    assert BOUNDS.floor <= found.quota <= BOUNDS.cap
    assert found.quota <= state.quota + max(state.quota, SEED // 64)
    if score is None or score >= 9_000:
        assert found.quota <= state.quota
    if score is not None and score < 10_000 and found.reason is not Reason.UNUSED:
        assert found.quota >= state.quota
    assert found.quota >= state.quota // 8


def test_least_action_wins_and_a_missing_goal_means_nothing_is_known() -> None:
    assert worst((3_000, 12_000)) == 12_000
    assert worst((3_000, None)) is None
    assert worst(()) is None


def test_the_first_window_has_the_seed_within_the_bounds() -> None:
    assert begin(BOUNDS).quota == SEED
    assert begin(replace(BOUNDS, cap=MIB)).quota == MIB
    assert begin(replace(BOUNDS, floor=8 * MIB)).quota == 8 * MIB


def test_after_a_guard_it_has_to_grow_again_gently() -> None:
    low = lower_to(AT, 2_500, BOUNDS)
    assert low.quota == low.knee == 16 * MIB
    assert steer(low, 0, low.quota, BOUNDS).quota == 20 * MIB


def test_from_the_seed_it_settles_without_exceeding_the_goal() -> None:
    """The kernel's law starts from a byte and takes 25 windows."""
    found = play_ours(Plant(), 300)
    assert found.over() == 0
    assert (found.settled() or 0) <= 6
    kernel = play(Plant(), consist(), 300).settled()
    assert kernel is not None
    assert kernel > 20


@pytest.mark.parametrize("lag", [1, 3, 5])
def test_a_metric_that_lags_is_waited_for(lag: int) -> None:
    """The kernel's law swings for ever."""
    found = play_ours(Plant(lag=lag), 300, lag)
    assert found.over() == 0
    assert (found.settled() or 0) <= 6 * (lag + 1)
    assert play(Plant(lag=lag), consist(), 300).settled() is None


def test_a_lag_nobody_told_of_costs_less_than_the_kernels_law() -> None:
    assert play_ours(Plant(lag=3), 300).excess() < play(Plant(lag=3), consist(), 300).excess() / 2


def test_noise_is_not_chased() -> None:
    found, kernel = (
        play_ours(Plant(noise_bp=1_500), 300),
        play(Plant(noise_bp=1_500), consist(), 300),
    )
    assert found.over() < kernel.over() * 0.6
    assert found.excess() < kernel.excess() * 0.5
    assert sum(found.quotas) > 0.9 * sum(kernel.quotas)


def test_when_room_shrinks_it_is_below_the_goal_again_at_once() -> None:
    plant = Plant(
        safe=lambda t: (16 if t < 150 else 2) * MIB, bearable=lambda t: (64 if t < 150 else 8) * MIB
    )
    found = play_ours(plant, 300)
    assert found.over() <= 2
    assert (found.settled() or 0) <= 153


def test_pressure_that_others_make_lowers_it_and_it_comes_back() -> None:
    found = play_ours(Plant(base_bp=lambda t: 30_000 if 100 <= t < 110 else 0), 300)
    assert found.over() == 10  # theirs
    assert min(found.quotas[100:115]) <= found.quotas[99] // 8
    assert found.quotas[-1] > 0.9 * found.quotas[99]


def test_room_that_shrinks_slowly_is_followed() -> None:
    def ramp() -> Plant:
        return Plant(
            safe=lambda t: max(16 - t // 20, 1) * MIB, bearable=lambda t: max(64 - t // 5, 4) * MIB
        )

    assert play_ours(ramp(), 300).excess() <= play(ramp(), consist(), 300).excess()


def test_without_input_it_never_rises_and_goes_down_to_the_floor() -> None:
    found = play_ours(Plant(blind=range(100, 130)), 300)
    lost = found.quotas[101:131]
    assert all(b <= a for a, b in pairwise(lost))
    assert lost[-1] == 0
    assert found.over() == 0


def test_a_quota_at_zero_is_left_again() -> None:
    """Bounds without a floor must not be a trap."""
    assert steer(Steering(0, 0), 0, 0, Bounds(0, CAP, SEED)).quota == SEED // 64


def test_what_is_not_used_up_does_not_wait_to_be_spent_at_once() -> None:
    """Cold memory has run out; when there is more, it starts small."""
    plant = Plant(safe=lambda _: 10**12, cold=2048 * MIB)
    found = play_ours(plant, 100)
    assert max(found.quotas) > 256 * MIB
    assert found.quotas[-1] == SEED


def test_two_controllers_of_one_metric_share_it() -> None:
    """Both see the pressure that both make; neither swings, and neither starves."""
    bounds = Bounds(0, CAP, SEED)
    states = [begin(bounds), begin(replace(bounds, seed=SEED * 4))]
    plant, over = Plant(rng=Random(3), noise_bp=500), 0
    for _ in range(400):
        score, used = plant.window(sum(state.quota for state in states))
        total = max(sum(state.quota for state in states), 1)
        over += (score or 0) > 12_000
        states = [steer(state, score, used * state.quota // total, bounds) for state in states]
    assert over <= 4
    assert all(state.quota > 2 * MIB for state in states)
    assert 40 * MIB < sum(state.quota for state in states) < 70 * MIB


def test_no_law_in_the_table_takes_more_for_as_little_harm() -> None:
    """Over 300 windows: what is bought by each unit of excess."""
    found = play_ours(Plant(), 300)
    for law in (consist(), temporal(), senpai(32 << 30)):
        other = play(Plant(), law, 300)
        taken = sum(min(quota, 1 << 40) for quota in other.quotas)
        assert other.excess() > found.excess() or taken < sum(found.quotas)
