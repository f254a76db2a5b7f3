"""Which age is chosen, by the rules and for known workloads; and what schemes would do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from damos_agent.algo.auto_age import (
    DEFAULT_BUDGET_BP,
    Choice,
    Prediction,
    Reason,
    choose,
    predict,
)
from damos_agent.algo.coldness import AGES_US, Coldness, needed_us
from damos_agent.algo.idleness import Row
from damos_agent.model.codec import decode, encode
from damos_agent.model.policy import Pattern, Quota
from tests.algo.workload import (
    HOUR,
    MIB,
    MINUTE,
    SECOND,
    Machine,
    Monitor,
    Run,
    cold,
    every,
    hot,
    layout,
)

TEN_S, FIFTEEN_S, TWENTY_S = AGES_US[:3]
HOLD_US = 10 * MINUTE


def of(*at_most_bp: int | None) -> tuple[Coldness, ...]:
    """Estimates of the youngest ages; None: not looked at for long enough."""
    return tuple(
        Coldness(
            age_us=age_us,
            cold_bytes=1000 * MIB,
            flow_bytes_per_s=MIB,
            back_bytes_per_minute=6 * MIB,
            back_bp=bp or 0,
            at_most_bp=bp or 0,
            seen_us=0 if bp is None else HOUR,
            enough=bp is not None,
        )
        for age_us, bp in zip(AGES_US, at_most_bp, strict=False)
    )


def after(state: Choice, estimates: Sequence[Coldness], from_us: int, to_us: int) -> Choice:
    """Asked every five seconds."""
    for now_us in range(from_us, to_us + 1, 5 * SECOND):
        state = choose(state, estimates, now_us)
    return state


@pytest.mark.parametrize(
    ("estimates", "age_us", "reason"),
    [
        (of(0, 0, 0), TEN_S, Reason.OK),
        (of(20, 0, 0), TEN_S, Reason.OK),
        (of(21, 20, 0), FIFTEEN_S, Reason.OK),
        (of(None, 0, 0), FIFTEEN_S, Reason.OK),
        (of(30, 25, None), None, Reason.LEARNING),
        (of(None, None, None), None, Reason.LEARNING),
        (of(), None, Reason.LEARNING),
        (of(30, 25, 21), None, Reason.OVER_BUDGET),
    ],
)
def test_first_choice(estimates: tuple[Coldness, ...], age_us: int | None, reason: Reason) -> None:
    found = choose(Choice(), estimates, HOUR)
    assert (found.age_us, found.reason) == (age_us, reason)


def test_what_may_well_come_back_counts_not_what_did() -> None:
    unsure = tuple(replace(one, back_bp=0) for one in of(21, 20, 0))
    assert choose(Choice(), unsure, HOUR).age_us == FIFTEEN_S
    assert choose(Choice(TEN_S, Reason.OK, moves=1), unsure, HOUR).age_us == FIFTEEN_S
    state = Choice(TWENTY_S, Reason.OK, moves=1)
    assert after(state, tuple(replace(one, back_bp=0) for one in of(21, 15, 0)), 0, HOUR) == state


def test_to_an_older_age_at_once_and_to_none_if_there_is_none_known() -> None:
    state = Choice(TEN_S, Reason.OK, moves=1)
    assert choose(state, of(21, 20, 0), HOUR).age_us == FIFTEEN_S
    assert choose(state, of(21, 21, 0), HOUR).age_us == TWENTY_S
    known = choose(state, of(21, 21, 21), HOUR)
    assert (known.age_us, known.reason, known.since_us) == (None, Reason.OVER_BUDGET, HOUR)
    assert choose(state, of(21, None, None), HOUR).reason is Reason.LEARNING


def test_an_age_whose_evidence_is_lost_is_left() -> None:
    assert choose(Choice(TEN_S, Reason.OK, moves=1), of(None, 0), HOUR).age_us == FIFTEEN_S


def test_to_a_younger_age_only_after_it_was_well_within_for_a_while() -> None:
    state = Choice(TWENTY_S, Reason.OK, moves=1)
    assert after(state, of(30, 15, 0), 0, 10 * HOLD_US) == state
    assert after(state, of(30, 14, 0), 0, HOLD_US - 5 * SECOND).age_us == TWENTY_S
    assert after(state, of(30, 14, 0), 0, HOLD_US).age_us == FIFTEEN_S
    interrupted = choose(after(state, of(30, 14, 0), 0, HOLD_US - MINUTE), of(30, 15, 0), HOLD_US)
    assert interrupted.next_us is None
    assert after(interrupted, of(30, 14, 0), HOLD_US, 2 * HOLD_US - MINUTE).age_us == TWENTY_S


def test_the_older_of_two_has_been_well_within_for_as_long() -> None:
    """What was so all the time is taken, even if the youngest was for a part of it only."""
    state = Choice(AGES_US[3], Reason.OK, moves=1)
    half = after(state, of(0, 0, 0, 0), 0, HOLD_US // 2)
    assert half.next_us == TEN_S
    assert after(half, of(30, 0, 0, 0), HOLD_US // 2, HOLD_US).age_us == FIFTEEN_S
    late = after(state, of(30, 0, 0, 0), 0, HOLD_US // 2)
    assert after(late, of(0, 0, 0, 0), HOLD_US // 2, HOLD_US).age_us == FIFTEEN_S


def test_from_none_it_begins_again_as_carefully() -> None:
    state = choose(Choice(TEN_S, Reason.OK, moves=1), of(99, 99), 0)
    close = after(state, of(99, 20), 0, 2 * HOLD_US)
    assert (close.age_us, close.reason) == (None, Reason.SETTLING)
    assert after(state, of(99, 10), 0, HOLD_US).age_us == FIFTEEN_S


@given(
    st.lists(
        st.lists(st.none() | st.integers(0, 40), min_size=4, max_size=4).map(
            lambda bps: sorted(bps, key=lambda bp: -1 if bp is None else -bp)
        ),
        max_size=40,
    ),
    st.integers(0, 30),
)
@example([[None, None, None, 0]] * 7 + [[2, None, None, None]], 3)
def test_laws(looks: list[list[int | None]], budget_bp: int) -> None:
    """Never over the budget or unproven; changes to younger ages are rare."""
    state, younger_at = Choice(), []
    for number, bps in enumerate(looks):
        estimates, now_us = of(*bps), number * 2 * MINUTE
        found = choose(state, estimates, now_us, budget_bp)
        if found.age_us is not None:
            chosen = next(one for one in estimates if one.age_us == found.age_us)
            assert chosen.enough
            assert chosen.at_most_bp <= budget_bp
        assert (found.reason is Reason.OK) == (found.age_us is not None)
        assert (found.age_us != state.age_us) <= (found.moves == state.moves + 1)
        was, now = state.age_us or 1 << 62, found.age_us or 1 << 62
        if now < was and state.moves:
            younger_at.append(now_us)
        state = found
        assert decode(Choice, json.loads(json.dumps(encode(state)))) == state
    assert all(later - sooner >= HOLD_US for sooner, later in pairwise(younger_at))


@pytest.mark.parametrize("acting", [False, True])
@pytest.mark.parametrize("period", [25, 60, 100, 290])
def test_memory_needed_every_so_often_settles_it_above_that(period: int, acting: bool) -> None:
    """And at no older age than it takes: the first or second on the ladder."""
    machine = Machine(layout((400, hot), (100, every(period)), (500, cold)))
    run = Run().go(machine, 7_200, acting=acting)
    assert run.choice.reason is Reason.OK
    above = [age_us for age_us in AGES_US if age_us >= period * SECOND]
    assert run.choice.age_us in above[:2]
    assert len(run.changes) <= 2
    assert machine.paged_back == 0


def test_through_damons_eyes_it_settles_there_too() -> None:
    machine = Machine(layout((400, hot), (100, every(60)), (500, cold)))
    run = Run().watch(Monitor(machine, min_regions=10), 3_600)
    assert run.choice.age_us in (60 * SECOND, 90 * SECOND)
    assert len(run.changes) == 1


@pytest.mark.parametrize("acting", [False, True])
def test_truly_cold_memory_beside_hot_is_taken_as_early_as_can_be(acting: bool) -> None:
    machine = Machine(layout((400, hot), (500, cold)))
    run = Run().go(machine, 7_200, acting=acting)
    assert len(run.changes) == 1
    chosen_s, age_us = run.changes[0]
    assert age_us == TEN_S
    assert needed_us(TEN_S) <= chosen_s * SECOND <= needed_us(TEN_S) + 2 * MINUTE


def test_a_period_longer_than_what_was_seen_is_learned_by_what_comes_back() -> None:
    """100 MiB are needed every 25 minutes: more than one return is never paid for, and after two
    the right age is known."""
    machine = Machine(layout((400, hot), (100, every(1_500, phase=100)), (500, cold)))
    run = Run().go(machine, 4 * 3_600, acting=True)
    assert run.choice.age_us == 1_800 * SECOND
    assert machine.paged_back <= 100 * MIB


def test_a_scan_of_everything_is_stayed_above() -> None:
    """Ten blocks, each read for ten seconds, one behind the other, every half hour."""
    blocks = ((100, every(1_800, phase=10 * n, lasting=10)) for n in range(10))
    machine = Machine(layout((200, hot), *blocks, (500, cold)))
    run = Run().go(machine, 5 * 3_600)
    assert run.choice.age_us in (1_800 * SECOND, 2_700 * SECOND)


def test_when_the_working_set_moves_it_stops_at_once_and_begins_again_later() -> None:
    """Of 400 MiB 200 are hot for four hours, then the others. What comes back at once is what the
    budget, 0.6 MiB a minute, allows in five and a half hours."""
    moves_s = 4 * 3_600
    machine = Machine(
        layout((200, lambda now: now < moves_s), (200, lambda now: now >= moves_s), (100, hot))
    )
    run = Run().go(machine, 12 * 3_600, acting=True)
    first, stopped, *rest = run.changes
    assert first[1] == TEN_S
    assert stopped == (moves_s, None)
    assert run.choice.age_us == TEN_S
    assert len(rest) == 1
    assert rest[0][0] - moves_s == pytest.approx(5.5 * 3_600, rel=0.2)
    assert machine.paged_back == 200 * MIB


def test_growth_is_no_reason_to_wait() -> None:
    parts = [(10, lambda now, at=at: at <= now < at + 5) for at in range(0, 7_200, 60)]
    blocks = layout((400, hot), *parts)
    for at, block in zip(range(0, 7_200, 60), blocks[1:], strict=True):
        block.born = at
    run = Run().go(Machine(blocks), 7_200, acting=True)
    assert run.choice.age_us == TEN_S
    assert run.of(TEN_S).flow_bytes_per_s == pytest.approx(10 * MIB / 60, rel=0.1)


def test_everything_needed_again_and_again_leaves_no_age() -> None:
    """Every age to an hour is over the budget: twelve blocks with longer and longer periods."""
    periods = (20, 40, 80, 160, 320, 640, 1_280, 2_560, 4_000)
    machine = Machine(layout((300, hot), *((100, every(period)) for period in periods)))
    run = Run().go(machine, 8 * 3_600)
    assert (run.choice.age_us, run.choice.reason) == (None, Reason.OVER_BUDGET)


def test_returns_within_the_budget_are_put_up_with() -> None:
    """0.1 % of the working set a minute, after a minute each."""
    machine = Machine(
        layout((1_000, hot), *((1, every(600, phase=50 * n)) for n in range(10)), (500, cold))
    )
    run = Run().go(machine, 3 * 3_600)
    assert DEFAULT_BUDGET_BP // 2 <= run.of(TEN_S).back_bp <= DEFAULT_BUDGET_BP * 2 // 3
    assert run.choice.age_us == TEN_S
    assert len(run.changes) == 1


IDLE = Pattern(access_max_bp=0, age_min_us=15 * SECOND)
ROWS = (
    Row(0, 0, 100 * MIB, 0, 20 * SECOND),
    Row(0, 100 * MIB, 150 * MIB, 0, 15 * SECOND),
    Row(0, 150 * MIB, 160 * MIB, 0, 14 * SECOND),
    Row(0, 160 * MIB, 200 * MIB, 500, 60 * SECOND),
    Row(1, 0, MIB, 0, 90 * SECOND),
)


@pytest.mark.parametrize(
    ("pattern", "mib"),
    [
        (Pattern(), 201),
        (IDLE, 151),
        (replace(IDLE, size_min=2 * MIB), 150),
        (replace(IDLE, size_max=50 * MIB), 51),
        (replace(IDLE, age_max_us=20 * SECOND), 150),
        (Pattern(access_min_bp=1), 40),
        (Pattern(access_min_bp=501), 0),
    ],
)
def test_what_matches_now(pattern: Pattern, mib: int) -> None:
    assert predict(ROWS, of(10, 5, 1), pattern).matched_bytes == mib * MIB


def test_later_it_is_the_flow_of_that_age_and_its_returns() -> None:
    assert predict(ROWS, of(10, 5, 1), IDLE) == Prediction(151 * MIB, 151 * MIB, MIB, 6 * MIB, 5)
    between = replace(IDLE, age_min_us=19 * SECOND)
    assert predict(ROWS, of(10, 5, 1), between).back_bp == 5


def test_what_the_quota_holds_back_does_not_come_back() -> None:
    quota = Quota(size=MIB, interval_us=4 * SECOND)
    found = predict(ROWS, of(10, 5, 1), IDLE, quota)
    assert found == Prediction(151 * MIB, MIB, MIB // 4, 6 * MIB // 4, 2)
    ample = predict(ROWS, of(10, 5, 1), IDLE, Quota(size=1 << 30))
    assert ample == predict(ROWS, of(10, 5, 1), IDLE)
    # Windows of a quota end only when the scheme is applied.
    rare = predict(ROWS, of(10, 5, 1), IDLE, quota, apply_us=8 * SECOND)
    assert rare.bytes_per_s == MIB // 8


def test_of_memory_that_is_not_idle_nobody_can_tell_what_comes_back() -> None:
    found = predict(ROWS, of(10, 5, 1), Pattern(access_min_bp=1, age_min_us=20 * SECOND))
    assert found == Prediction(40 * MIB, 40 * MIB, 2 * MIB)
    young = predict(ROWS, of(10, 5, 1), replace(IDLE, age_min_us=SECOND))
    assert (young.back_bp, young.back_bytes_per_minute) == (None, None)


def test_a_prediction_survives_being_stored() -> None:
    found = predict(ROWS, of(10, 5, 1), IDLE)
    assert decode(Prediction, json.loads(json.dumps(encode(found)))) == found
