# SPDX-License-Identifier: Apache-2.0
"""What layouts touch, and the truth computed from it, against counting round by round."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.layout import PAGE, HotCold, MovingWindow, Range, Stairs, Stripes, Zigzag, joined
from tests.load.skewed import Skewed
from tests.load.spelling import parse, spell
from tests.load.truth import Layout, ages, check, parts, period, pieces, touched, truth

TOTAL = 64 * PAGE
_PAGES = st.integers(1, 16).map(lambda count: count * PAGE)
_HOLD = st.integers(1, 3)
LAYOUTS: st.SearchStrategy[Layout] = st.one_of(
    st.builds(HotCold, st.just(TOTAL), st.integers(0, 48).map(lambda n: n * PAGE), _PAGES),
    st.builds(Stripes, st.just(TOTAL), st.integers(1, 4), _PAGES),
    st.builds(Stairs, st.just(TOTAL), st.integers(1, 5), _HOLD),
    st.builds(Zigzag, st.just(TOTAL), _PAGES, _PAGES, _HOLD),
    st.builds(MovingWindow, st.just(TOTAL), _PAGES, _PAGES, _HOLD),
    st.builds(
        Skewed,
        st.just(TOTAL),
        st.integers(1, 40),
        st.sampled_from([0.0, 1.0]),
        st.sampled_from([PAGE, 4 * PAGE]),
        st.integers(1, 9),
        st.integers(0, 99),
        _HOLD,
    ),
)
ROUNDS = st.builds(lambda first, count: range(first, first + count), st.integers(0, 99), _HOLD)


def holds(ranges: list[Range], offset: int) -> bool:
    return any(start <= offset < end for start, end in ranges)


@given(LAYOUTS, st.integers(0, 1000))
def test_touched_is_ordered_whole_pages_within_bounds(layout: Layout, number: int) -> None:
    """And comes again after the period."""
    found = touched(layout, number)
    assert found == joined(found)
    assert all(
        0 <= start < end <= TOTAL and start % PAGE == end % PAGE == 0 for start, end in found
    )
    assert found == touched(layout, number + period(layout))
    check(layout)


@given(LAYOUTS, st.integers(0, 99), st.integers(1, 40), st.integers(1, 6))
def test_truth_is_what_counting_gives(layout: Layout, first: int, more: int, sample: int) -> None:
    """Page by page and sample by sample."""
    rounds = range(first, first + more + sample)
    samples = range(first, rounds.stop - sample + 1)
    for start, end, rate in truth(layout, rounds, sample):
        hits = [
            any(holds(touched(layout, n), start) for n in range(at, at + sample)) for at in samples
        ]
        assert rate == sum(hits) / len(hits)
        assert start < end


@given(LAYOUTS, st.sampled_from([PAGE, 4 * PAGE]))
def test_pieces_cover_everything_once(layout: Layout, granule: int) -> None:
    """Neighbours differ, and larger granules only make more of it accessed."""
    found = pieces(layout, granule)
    assert (found[0][0], found[-1][1]) == (0, TOTAL)
    for before, after in pairwise(found):
        assert before[1] == after[0]
        assert before[2] != after[2]
        assert after[0] % granule == 0


@given(LAYOUTS)
def test_rates_add_up_to_what_is_touched(layout: Layout) -> None:
    """Over a period, bytes times rate is the mean of bytes touched."""
    rounds = range(period(layout))
    touched_bytes = sum(end - start for n in rounds for start, end in touched(layout, n))
    weighted = sum((end - start) * rate for start, end, rate in truth(layout, rounds))
    assert weighted * len(rounds) == pytest.approx(touched_bytes)


@given(LAYOUTS, st.integers(0, 200))
def test_ages_count_back_to_the_last_change(layout: Layout, now: int) -> None:
    """As looking at each round before does."""
    for start, _, age in ages(layout, now):
        history = [holds(touched(layout, n), start) for n in range(now - 1, -1, -1)]
        expected = next((n for n, was in enumerate(history) if was != history[0]), now)
        assert age == expected


@given(LAYOUTS)
def test_spelling_can_be_read(layout: Layout) -> None:
    """Command lines carry all of a layout."""
    assert parse(spell(layout)) == layout


@given(LAYOUTS)
def test_parts_cover_everything(layout: Layout) -> None:
    """One behind the other; none is empty."""
    found = parts(layout)
    assert joined(found) == [(0, TOTAL)]
    assert all(start < end for start, end in found)


def test_stairs_halve() -> None:
    """100 %, 50 %, 25 %, and two steps at most in one round."""
    layout = Stairs(TOTAL, 3)
    assert [rate for _, _, rate in truth(layout, range(8))] == [1.0, 0.5, 0.25]
    assert max(sum(b - a for a, b in touched(layout, n)) for n in range(4)) <= 2 * 22 * PAGE


def test_stairs_are_steady_by_the_period() -> None:
    """Each block of a period touches all of them."""
    assert [age for _, _, age in ages(Stairs(TOTAL, 3), 10, per=4)] == [8, 8, 8]


def test_zigzag_comes_back_the_same_way() -> None:
    """0, 1, 2, 1, 0 ..., each for `hold` rounds."""
    layout = Zigzag(3 * PAGE, PAGE, PAGE, hold=2)
    starts = [touched(layout, n)[0][0] // PAGE for n in range(10)]
    assert starts == [0, 0, 1, 1, 2, 2, 1, 1, 0, 0]


def test_a_window_enters_at_the_start_again() -> None:
    """Its size never changes."""
    layout = MovingWindow(4 * PAGE, 2 * PAGE, PAGE)
    assert touched(layout, 3) == [(0, PAGE), (3 * PAGE, 4 * PAGE)]


def test_most_draws_hit_a_fifth_of_the_pages() -> None:
    """With two levels, a hot page is drawn 16 times as often as a cold one."""
    layout = Skewed(1000 * PAGE, 50, cycle=400)
    rates = sorted((rate for a, b, rate in truth(layout, range(400)) for _ in range(a, b, PAGE)))
    assert sum(rates[-200:]) / sum(rates) == pytest.approx(0.8, abs=0.02)
