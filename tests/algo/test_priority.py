"""Laws of priority scores and of the cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.lower import Intervals
from damos_agent.algo.priority import cut, hotness, score
from damos_agent.model.damon import SchemeSpec
from damos_agent.model.policy import Action

EVEN = SchemeSpec(Action.PAGEOUT, weight_nr_accesses=1, weight_age=1)
AGE_ONLY = SchemeSpec(Action.PAGEOUT, weight_age=1)
NEITHER = SchemeSpec(Action.PAGEOUT, weight_sz=5)

VECTORS = [
    (EVEN, 0, 20, 0, 24),
    (EVEN, 0, 20, 9, 24),
    (EVEN, 0, 20, 10, 23),
    (EVEN, 0, 20, 1_200, 18),
    (EVEN, 0, 20, 36_000, 14),
    (EVEN, 1, 20, 0, 26),
    (EVEN, 10, 20, 0, 49),
    (EVEN, 20, 20, 0, 74),
    (EVEN, 20, 20, 1_200, 79),
    (AGE_ONLY, 0, 20, 1_200, 38),
    (AGE_ONLY, 20, 20, 1_200, 59),
    (NEITHER, 20, 20, 1_200, 0),
    (NEITHER, 0, 20, 0, 0),
    (EVEN, 1, 200, 600, 19),
]


def every_100ms(samples: int) -> Intervals:
    return Intervals(100_000 // samples, 100_000)


@pytest.mark.parametrize(("scheme", "nr", "samples", "age", "hot"), VECTORS)
def test_scores_follow_the_vectors(
    scheme: SchemeSpec, nr: int, samples: int, age: int, hot: int
) -> None:
    intervals = every_100ms(samples)
    assert hotness(scheme, nr, age, intervals) == hot
    for action in (Action.PAGEOUT, Action.LRU_DEPRIO, Action.MIGRATE_COLD):
        assert score(replace(scheme, action=action), nr, age, intervals) == 99 - hot
    for action in (Action.LRU_PRIO, Action.MIGRATE_HOT):
        assert score(replace(scheme, action=action), nr, age, intervals) == hot


@pytest.mark.parametrize("action", [Action.STAT, Action.COLD, Action.WILLNEED, Action.COLLAPSE])
def test_other_actions_have_no_preference(action: Action) -> None:
    assert score(replace(EVEN, action=action), 3, 7, every_100ms(20)) == 99


@given(st.integers(0, 40), st.integers(0, 2**32), st.integers(0, 9), st.integers(0, 9))
def test_scores_are_within_the_histogram(nr: int, age: int, by_nr: int, by_age: int) -> None:
    scheme = replace(EVEN, weight_nr_accesses=by_nr, weight_age=by_age)
    assert 0 <= score(scheme, nr, age, every_100ms(20)) <= 99


def histogram(**scores: int) -> list[int]:
    return [scores.get(f"at{n}", 0) for n in range(100)]


@pytest.mark.parametrize(
    ("esz", "lowest"), [(1, 80), (10, 80), (11, 50), (30, 50), (31, 2), (35, 2), (36, 0)]
)
def test_the_cut_leaves_out_what_the_better_fill_up(esz: int, lowest: int) -> None:
    assert cut(histogram(at80=10, at50=20, at2=5), esz) == lowest


@given(st.lists(st.integers(0, 9), min_size=100, max_size=100), st.integers(1, 1_000))
def test_above_the_cut_is_too_little_and_with_it_enough(bytes_of: list[int], esz: int) -> None:
    lowest = cut(bytes_of, esz)
    assert sum(bytes_of[lowest + 1 :]) < esz
    assert lowest == 0 or sum(bytes_of[lowest:]) >= esz
