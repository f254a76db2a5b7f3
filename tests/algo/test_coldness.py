"""How much is cold and would be needed again: laws by address, and known workloads."""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.coldness import (
    AGES_US,
    FADE_US,
    GAP_US,
    LEAST_SEEN_US,
    MOST_BP,
    Coldness,
    History,
    Totals,
    estimate,
    needed_us,
    observe,
    restarted,
    working_set_bytes,
)
from damos_agent.algo.idleness import Change, Changes, Idle, Look, Row, compare
from damos_agent.model.codec import decode, encode
from tests.algo.workload import (
    HOUR,
    MIB,
    MINUTE,
    PAGE,
    SECOND,
    Block,
    Machine,
    Monitor,
    Run,
    bytes_of,
    cold,
    every,
    hot,
    layout,
)

START = 10_000 * SECOND


def idle_row(start: int, end: int, age_s: float, target: int = 0) -> Row:
    return Row(target, start, end, 0, int(age_s * SECOND))


def hot_row(start: int, end: int, age_s: float = 0, target: int = 0) -> Row:
    return Row(target, start, end, 500, int(age_s * SECOND))


def between(
    before: Sequence[Row], after: Sequence[Row], apart_s: float = 5, **acting: int
) -> Changes:
    """What two looks tell."""
    first = compare(Idle(), START, Look(START, tuple(before)))
    then_us = START + int(apart_s * SECOND)
    return compare(first.idle, START, Look(then_us, tuple(after), **acting))


def ages(changes: Sequence[Change]) -> list[tuple[int, float]]:
    """Bytes, and the idle age they reached, in seconds."""
    return sorted((size, reached_us / SECOND) for size, _, reached_us in changes)


@dataclass(frozen=True)
class Page:
    """`seen`: an access in the window of the look; `age`: windows of one second."""

    seen: bool
    age: int


Pages = dict[int, Page]

one_page = st.builds(Page, st.booleans(), st.integers(0, 40))
page_maps = st.dictionaries(st.integers(0, 23), one_page, max_size=24)


def rows_of(pages: Pages, cuts: frozenset[int] = frozenset(range(24))) -> tuple[Row, ...]:
    """Neighbours that are alike are one region, unless cut."""
    rows: list[Row] = []
    for number, page in sorted(pages.items()):
        row = Row(number // 12, number, number + 1, page.seen * 500, page.age * SECOND)
        last = rows[-1] if rows else None
        alike = last and replace(row, start=last.start, end=last.end) == last
        if last and alike and last.end == number and number not in cuts:
            rows[-1] = replace(last, end=number + 1)
        else:
            rows.append(row)
    return tuple(rows)


some_cuts = st.frozensets(st.integers(0, 23))
histories = st.lists(st.tuples(page_maps, some_cuts, st.integers(1, 130)), max_size=6)


@given(histories, st.integers(1, 5))
def test_how_regions_are_cut_changes_nothing(
    looks: list[tuple[Pages, frozenset[int], int]], scale: int
) -> None:
    whole = cut = History()
    now_us = START
    for pages, cuts, apart_s in looks:
        now_us += apart_s * SECOND
        grown = {at: replace(page, age=page.age * scale) for at, page in pages.items()}
        whole = observe(whole, Look(now_us, rows_of(grown, frozenset())))
        cut = observe(cut, Look(now_us, tuple(reversed(rows_of(grown, cuts)))))
        assert cut == whole


@given(page_maps, page_maps, st.integers(1, 60))
def test_page_by_page_it_is_the_law(before: Pages, after: Pages, apart_s: int) -> None:
    """Touched: seen, or an age less than the time that passed and than before."""
    found = between(rows_of(before), rows_of(after, frozenset()), apart_s)
    back, stayed, idle = [], 0, []
    for at, page in sorted(after.items()):
        old = before.get(at)
        was_idle = old is not None and not old.seen
        touched = page.seen or (old is not None and page.age < min(old.age, apart_s))
        if old is not None and was_idle and touched:
            back.append((1, float(old.age + max(apart_s - page.age, 0))))
        if old is not None and was_idle and not touched:
            stayed += 1
            idle.append((at, max(old.age + apart_s, page.age)))
        elif not page.seen:
            idle.append((at, page.age))
    assert sorted((1, age) for size, age in ages(found.back) for _ in range(size)) == sorted(back)
    assert sum(size for size, *_ in found.stayed) == stayed
    now_s = START // SECOND + apart_s
    pieces = [
        (at, now_s - since) for _, start, end, _, since in found.pieces for at in range(start, end)
    ]
    assert pieces == idle


@given(page_maps, page_maps, st.integers(1, 60))
def test_no_byte_is_lost_or_counted_twice(before: Pages, after: Pages, apart_s: int) -> None:
    found = between(rows_of(before), rows_of(after), apart_s)
    idle_before = [at for at, page in before.items() if not page.seen]
    gone = sum(at not in after for at in idle_before)
    told = sum(size for size, *_ in (*found.stayed, *found.back))
    assert told == len(idle_before) - gone
    assert bytes_of(Row(0, a, b, 0, 0) for _, a, b, _, _ in found.pieces) == bytes_of(
        row for row in rows_of(after) if not row.access_bp
    )


@given(histories)
def test_no_figure_grows_with_the_age(looks: list[tuple[Pages, frozenset[int], int]]) -> None:
    history, now_us = History(), START
    for pages, cuts, apart_s in looks:
        now_us += apart_s * SECOND
        history = observe(history, Look(now_us, rows_of(pages, cuts)))
    for young, old in pairwise(estimate(history)):
        assert old.age_us > young.age_us
        assert old.cold_bytes <= young.cold_bytes
        assert old.flow_bytes_per_s <= young.flow_bytes_per_s
        assert old.back_bytes_per_minute <= young.back_bytes_per_minute
        assert old.back_bp <= young.back_bp
        assert old.at_most_bp <= young.at_most_bp
        assert young.back_bp <= young.at_most_bp


@given(histories)
def test_a_history_survives_being_stored(looks: list[tuple[Pages, frozenset[int], int]]) -> None:
    history, now_us = History(), START
    for pages, cuts, apart_s in looks:
        now_us += apart_s * SECOND
        history = observe(history, Look(now_us, rows_of(pages, cuts)))
    assert decode(History, json.loads(json.dumps(encode(history)))) == history
    stored = json.loads(json.dumps(encode(estimate(history))))
    assert decode(tuple[Coldness, ...], stored) == estimate(history)


def test_touched_for_a_moment_it_shows_by_its_age() -> None:
    found = between([idle_row(0, 10, 100)], [idle_row(0, 10, 2)])
    assert ages(found.back) == [(10, 103)]
    assert found.idle == Idle((0,), (0,), (10,), (2,), (10_003,))


def test_the_part_that_is_touched_counts() -> None:
    found = between([idle_row(0, 100, 60)], [idle_row(0, 90, 65), hot_row(90, 120)])
    assert ages(found.back) == [(10, 65)]
    assert ages(found.stayed) == [(90, 65)]


def test_what_is_unmapped_is_neither_back_nor_cold() -> None:
    found = between([idle_row(0, 100, 60)], [idle_row(0, 50, 65)])
    assert found.back == []
    assert ages(found.stayed) == [(50, 65)]
    assert found.idle.ends == (50,)


def test_what_is_mapped_anew_is_not_back() -> None:
    found = between([idle_row(0, 50, 60)], [idle_row(0, 50, 65), idle_row(50, 60, 1)])
    assert found.back == []
    assert found.idle.sinces_s == (9_940, 10_004)


def test_the_same_addresses_of_another_target_are_other_memory() -> None:
    found = between([idle_row(0, 50, 60)], [hot_row(0, 50, target=1)])
    assert found.back == found.stayed == []


def test_ages_that_lag_are_no_touch() -> None:
    """The monitor lost nearly all of 90 s: ages went on, or at least they did not fall."""
    found = between([idle_row(0, 50, 60), idle_row(50, 60, 2)], [idle_row(0, 60, 62)], 90)
    assert found.back == []
    assert between([idle_row(50, 60, 2)], [idle_row(50, 60, 3)], 90).back == []


def test_a_merge_with_younger_memory_is_no_touch_and_makes_nothing_younger() -> None:
    """DAMON's ages are averages."""
    found = between([idle_row(0, 50, 100), idle_row(50, 100, 20)], [idle_row(0, 100, 60)])
    assert found.back == []
    assert found.idle.sinces_s == (9_900, 9_945)


@pytest.mark.parametrize(
    ("acted", "back", "since_s"),
    [(10, [], 9_900), (6, [(4, 105)], 9_900), (0, [(10, 105)], 10_005)],
)
def test_an_age_that_an_action_made_zero_is_a_touch_as_far_as_nothing_was_tried(
    acted: int, back: list[tuple[int, float]], since_s: int
) -> None:
    found = between(
        [idle_row(0, 10, 100)],
        [idle_row(0, 10, 0)],
        acting_age_us=100 * SECOND,
        acted_bytes=acted,
    )
    assert ages(found.back) == back
    assert found.idle.sinces_s == (since_s,)


def test_an_action_does_not_explain_accesses_nor_an_age_it_was_not_due_at() -> None:
    acting = {"acting_age_us": 100 * SECOND, "acted_bytes": 1 << 30}
    assert ages(between([idle_row(0, 10, 100)], [hot_row(0, 10)], **acting).back) == [(10, 105)]
    young = between([idle_row(0, 10, 80)], [idle_row(0, 10, 1)], **acting)
    assert ages(young.back) == [(10, 84)]


def test_what_is_kept_is_bounded_and_errs_to_the_older() -> None:
    rng = Random(3)
    rows = tuple(idle_row(at, at + 1, rng.randrange(5_000)) for at in range(5_000))
    found = compare(Idle(), START, Look(START, rows))
    kept = found.idle
    assert len(kept.starts) <= 1_024
    assert sum(kept.ends) - sum(kept.starts) == 5_000
    for start, end, since_s in zip(kept.starts, kept.ends, kept.sinces_s, strict=True):
        assert since_s == min(START - row.age_us for row in rows[start:end]) // SECOND


def test_a_gap_tells_nothing() -> None:
    rows, late = (idle_row(0, 100, 300),), START + GAP_US + 1
    first = observe(History(), Look(START, rows))
    after = observe(first, Look(late, (hot_row(0, 100),)))
    assert after.totals == first.totals
    assert after.cold[0] == 0
    within = observe(first, Look(START + GAP_US, (hot_row(0, 100),)))
    assert sum(one.back for one in within.totals) > 0


def test_a_clock_that_runs_backwards_and_a_restart_tell_nothing() -> None:
    first = observe(History(), Look(START, (idle_row(0, 100, 300),)))
    back = observe(first, Look(START - SECOND, (hot_row(0, 100),)))
    anew = observe(restarted(first), Look(START + 5 * SECOND, (idle_row(0, 100, 1),)))
    for found in (back, anew):
        assert found.totals == first.totals
    assert anew.began_us == START + 4 * SECOND


def test_the_same_look_twice_is_one() -> None:
    look = Look(START, (idle_row(0, 100, 300),))
    once = observe(History(), look)
    assert observe(once, look) == once


def test_looks_far_apart_teach_nothing_of_shorter_ages() -> None:
    machine = Machine(layout((100, hot), (100, cold)))
    found = Run().go(machine, 2_400, apart=60).estimates
    assert next(one.age_us for one in found if not one.seen_us) == AGES_US[0]
    assert all(bool(one.seen_us) == (60 * SECOND <= one.age_us < 2_400 * SECOND) for one in found)


def test_nothing_is_known_of_an_age_before_memory_can_be_so_old() -> None:
    run = Run()
    machine = Machine(layout((100, hot), (100, cold)))
    run.go(machine, 1_200)
    for one in run.estimates:
        assert one.enough == (needed_us(one.age_us) + one.age_us <= 1_195 * SECOND - 60 * SECOND)


def test_the_age_of_what_runs_already_counts() -> None:
    """An adopted kdamond: memory is as old as that."""
    first = observe(History(), Look(START, (idle_row(0, 100, 3_000),)))
    after = observe(first, Look(START + 5 * SECOND, (idle_row(0, 100, 3_005),)))
    assert [one.seen_us > 0 for one in after.totals] == [
        age_us <= 3_000 * SECOND for age_us in AGES_US
    ]


def test_evidence_fades_and_lasts_long_enough() -> None:
    assert all(2 * needed_us(age_us) <= FADE_US for age_us in AGES_US)
    assert needed_us(10 * SECOND) == LEAST_SEEN_US
    assert needed_us(HOUR) == HOUR


@given(
    st.lists(
        st.builds(
            Totals,
            seen_us=st.floats(0, FADE_US),
            back=st.floats(1, 1e12),
            squares=st.floats(1, 1e22),
            crossed=st.floats(0, 1e12),
        ),
        min_size=len(AGES_US),
        max_size=len(AGES_US),
    )
)
def test_nor_does_any_whatever_has_faded_out(totals: list[Totals]) -> None:
    found = estimate(History(totals=tuple(totals), active=1e18, active_us=1.0))
    for young, old in pairwise(found):
        assert old.flow_bytes_per_s <= young.flow_bytes_per_s
        assert old.back_bytes_per_minute <= young.back_bytes_per_minute
        assert old.at_most_bp <= young.at_most_bp
        assert young.back_bp <= young.at_most_bp


def test_what_was_idle_from_the_start_is_no_flow() -> None:
    run = Run().go(Machine(layout((100, hot), (500, cold))), 600)
    assert {one.flow_bytes_per_s for one in run.estimates} == {0}


def test_few_returns_prove_less_than_many() -> None:
    """The same rate: the bound comes nearer with more looks that show one."""

    def at_most(returns: int) -> float:
        seen_us = returns * 10.0 * MINUTE
        one = Totals(seen_us, returns * 100.0 * MIB, returns * (100.0 * MIB) ** 2)
        history = History(totals=(one,) * len(AGES_US), active=1000.0 * MIB, active_us=1.0)
        found = estimate(history)[0]
        assert found.back_bp == 100
        return found.at_most_bp / found.back_bp

    # The exact 95 % bounds of Poisson means are 4.74, 10.5 and 118 for 1, 5 and 100 events.
    assert at_most(1) == pytest.approx(4.74, rel=0.06)
    assert at_most(5) == pytest.approx(10.5 / 5, rel=0.04)
    assert at_most(100) == pytest.approx(1.18, rel=0.01)


def test_returns_without_a_working_set_are_as_bad_as_can_be() -> None:
    some = Totals(seen_us=float(HOUR), back=1.0, squares=1.0)
    found = estimate(History(totals=(some,) * len(AGES_US)))
    assert {one.back_bp for one in found} == {MOST_BP}
    assert {one.back_bp for one in estimate(History())} == {0}


def test_the_working_set_is_what_is_accessed_on_average() -> None:
    run = Run().go(Machine(layout((300, hot), (100, every(20, lasting=10)), (500, cold))), 3_600)
    assert working_set_bytes(run.history) == pytest.approx(350 * MIB, rel=0.02)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_estimate_is_what_would_come_back(seed: int) -> None:
    """Memory touched at random, for two hours; the bound holds, and the mean is near the truth."""
    rng = Random(seed)
    blocks = layout((400, hot), *((rng.randrange(1, 20), cold) for _ in range(40)))
    for block in blocks[1:]:
        chance = 1 / rng.choice((20, 60, 200, 600, 2_000))
        seconds = frozenset(t for t in range(1, 7_201) if rng.random() < chance)
        block.touched = seconds.__contains__
    machine = Machine(blocks)
    run = Run().go(machine, 7_200)
    for one in run.estimates:
        if one.enough and one.age_us <= 600 * SECOND:
            truth = machine.true_back[one.age_us] * 60 / 7_200
            assert one.back_bytes_per_minute == pytest.approx(truth, rel=0.35)
            assert one.at_most_bp >= one.back_bp


def test_flow_is_what_grows_and_what_comes_and_goes() -> None:
    """Five MiB in five seconds are written once; 60 MiB are touched each minute."""
    grows = [
        Block((1 << 32) + at * MIB, 5 * MIB, partial(operator.eq, at), born=at)
        for at in range(0, 1_800, 5)
    ]
    machine = Machine([*layout((400, hot), (60, every(60)), (500, cold)), *grows])
    run = Run().go(machine, 1_800)
    assert run.of(30 * SECOND).flow_bytes_per_s == pytest.approx(2 * MIB, rel=0.1)
    assert run.of(120 * SECOND).flow_bytes_per_s == pytest.approx(MIB, rel=0.1)
    assert run.of(120 * SECOND).cold_bytes == pytest.approx((500 + 1_680) * MIB, rel=0.02)
    assert run.of(120 * SECOND).back_bytes_per_minute == 0


def test_page_out_by_the_agent_is_no_return_but_what_comes_back_is() -> None:
    """A scheme acts at 30 s, again and again on the same; 20 MiB are needed every 5 minutes."""
    machine = Machine(
        layout((400, hot), (500, cold), (20, every(300, phase=7))), acting_us=30 * SECOND
    )
    run = Run().go(machine, 7_200)
    assert machine.paged_back == 23 * 20 * MIB  # not what was touched first
    for age_us in (10, 30, 120, 180):
        found = run.of(age_us * SECOND).back_bytes_per_minute
        assert found == pytest.approx(4 * MIB, rel=0.2)
    assert run.of(450 * SECOND).back_bytes_per_minute == 0
    assert run.of(AGES_US[-2]).cold_bytes == 500 * MIB


def test_pages_are_whole_in_the_simulator() -> None:
    look = Machine(layout((3, cold))).look()
    assert bytes_of(look.rows) == 3 * MIB
    assert all(row.start % PAGE == 0 for row in look.rows)


@pytest.mark.parametrize(("min_regions", "rel"), [(10, 0.6), (100, 0.05)])
def test_through_damons_eyes_it_is_not_less_than_the_truth(min_regions: int, rel: float) -> None:
    """Ten stripes of hot memory, of some needed each minute, and of cold. Where regions are coarse
    more seems to come back than does, never less."""
    stripes = (((40, hot), (10, every(60, 6 * n)), (50, cold)) for n in range(10))
    machine = Machine(layout(*chain.from_iterable(stripes)))
    run = Run().watch(Monitor(machine, min_regions), 1_500)
    for age_us in (10 * SECOND, 30 * SECOND):
        truth = machine.true_back[age_us] * 60 / 1_500
        found = run.of(age_us).back_bytes_per_minute
        assert truth * 0.98 <= found <= truth * (1 + rel)
