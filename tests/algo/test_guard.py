"""Guards: fast down, slow up, and longer each time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.guard import Guard, Signal, Stage, guard, hold_us

S = 1_000_000
FREE = Guard()


def at(level: int | None, name: str = "refaults") -> Signal:
    return Signal(name, level, f"{name} at {level}")


def play(levels: Sequence[int | None], state: Guard = FREE, begin_s: int = 0) -> list[Guard]:
    """One look a second."""
    states = []
    for second, level in enumerate(levels, begin_s):
        state = guard(state, [at(level)], second * S)
        states.append(state)
    return states


def test_at_the_first_look_that_shows_a_breach_nothing_acts_any_more() -> None:
    (state,) = play([10_000])
    assert state.stage is Stage.PAUSED
    assert not state.stage.acts
    assert state.share_bp == 0
    assert (state.signal, state.why) == ("refaults", "refaults at 10000")


def test_the_worst_signal_wins() -> None:
    state = guard(FREE, [at(100, "psi"), at(12_000, "refaults"), at(8_000, "swap")], 0)
    assert state.signal == "refaults"


def test_close_to_the_limit_it_slows_down_by_halves() -> None:
    states = play([7_000] * 6)
    assert [s.share_bp for s in states] == [5_000, 2_500, 1_250, 625, 625, 625]
    assert {s.stage for s in states} == {Stage.SLOW}


def test_unknown_is_as_bad_as_close_to_the_limit() -> None:
    (state,) = play([None])
    assert state.stage is Stage.SLOW
    assert guard(FREE, [at(None), at(10_000)], 0).stage is Stage.PAUSED
    silent = guard(FREE, [Signal("psi", None)], 0)
    assert silent.why == "psi cannot be read"


def test_without_any_signal_nothing_changes() -> None:
    assert guard(FREE, [], 5) is FREE


def test_a_pause_ends_after_ten_calm_seconds_and_all_is_back_after_a_minute() -> None:
    states = play([10_000, *[0] * 80])
    assert [s.stage for s in states[1:11]] == [Stage.PAUSED] * 10
    assert states[11].stage is Stage.SLOW
    assert states[11].share_bp == 625
    free = next(second for second, s in enumerate(states) if s.stage is Stage.FREE)
    assert 45 <= free <= 60
    assert states[free].share_bp == 10_000
    assert states[free].why == ""


def test_between_calm_and_close_it_stays_as_it_is() -> None:
    states = play([10_000, *[6_000] * 100])
    assert {s.stage for s in states} == {Stage.PAUSED}


def test_calm_must_be_unbroken() -> None:
    states = play([10_000, *[0] * 9, 6_000, *[0] * 9])
    assert states[-1].stage is Stage.PAUSED


def test_the_third_pause_in_ten_minutes_trips() -> None:
    states = play(([10_000] + [0] * 29) * 3)
    assert [s.stage for s in states[:61:30]] == [Stage.PAUSED, Stage.PAUSED, Stage.TRIPPED]
    assert states[60].until_us == 60 * S + hold_us(0)
    assert states[-1].stage is Stage.TRIPPED


def test_far_over_trips_at_once() -> None:
    assert play([40_000])[0].stage is Stage.TRIPPED


def test_hold_offs_double_up_to_an_hour() -> None:
    assert [hold_us(n) // S for n in (0, 1, 2, 5, 6, 50)] == [60, 120, 240, 1920, 3600, 3600]


def test_a_trip_lasts_its_hold_off_and_until_it_is_calm() -> None:
    states = play([40_000, *[0] * 59])
    assert states[-1].stage is Stage.TRIPPED
    assert play([0], states[-1], 60)[0].stage is Stage.SLOW
    restless = play([40_000, *[6_000] * 200])
    assert restless[-1].stage is Stage.TRIPPED


def test_trips_are_forgotten_after_quiet_hours() -> None:
    state = play([40_000])[0]
    assert guard(state, [at(0)], 3600 * S).trips == 1
    assert guard(state, [at(0)], 3700 * S).trips == 0


def test_back_in_trouble_while_it_grows_again_stops_it_again() -> None:
    states = play([10_000, *[0] * 25, 10_000])
    assert states[-2].stage is Stage.SLOW
    assert states[-1].stage is Stage.PAUSED
    assert len(states[-1].pauses) == 2


@given(st.lists(st.none() | st.integers(0, 50_000), min_size=1, max_size=120))
def test_laws(levels: list[int | None]) -> None:
    """Never more than doubled at a step, nothing while stopped, and never free above the limit."""
    states = play(levels)
    for state, level in zip(states, levels, strict=True):
        assert 0 <= state.share_bp <= 10_000
        assert state.stage.acts == (state.share_bp > 0)
        assert state.stage.acts <= (level is None or level < 10_000)
        assert (state.stage is Stage.FREE) == (state.share_bp == 10_000)
    for before, after in pairwise(states):
        assert after.share_bp <= max(2 * before.share_bp, 625)


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_is_left_in_the_end(stage: Stage) -> None:
    share = {Stage.FREE: 10_000, Stage.SLOW: 625}.get(stage, 0)
    states = play([0] * 4_000, Guard(stage, share, until_us=100 * S, trips=1))
    assert states[-1].stage is Stage.FREE
