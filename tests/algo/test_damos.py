"""Laws of a round: matching, acting, counting."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.actor import Applied
from damos_agent.algo.damos import SchemeState
from damos_agent.algo.region import Region
from damos_agent.model.damon import FilterSpec, SchemeSpec, SchemeStats
from tests.algo.regions import SAMPLES, UNIT, bounds, chains, covered
from tests.algo.rounds import ANY, IDLE, STAT, Desk, desk

PATTERN = replace(
    ANY, sz_min=10, sz_max=20, nr_accesses_min=2, nr_accesses_max=4, age_min=5, age_max=7
)


@pytest.mark.parametrize(
    ("size", "nr", "age", "matches"),
    [
        (10, 2, 5, True),
        (20, 4, 7, True),
        (9, 3, 6, False),
        (21, 3, 6, False),
        (15, 1, 6, False),
        (15, 5, 6, False),
        (15, 3, 4, False),
        (15, 3, 8, False),
    ],
)
def test_pattern_bounds_are_inclusive(size: int, nr: int, age: int, matches: bool) -> None:
    there = desk(PATTERN, regions=[Region(0, size, nr, age=age)])
    there.round()
    assert there.actor.pieces() == ([(0, size)] if matches else [])


def test_in_mid_window_the_moving_sum_counts() -> None:
    there = desk(PATTERN, regions=[Region(0, 15, 0, last_nr_accesses=6, age=6)])
    there.round(left_bp=5_000)
    assert there.actor.pieces() == [(0, 15)]


def test_acting_voids_the_age_and_stat_does_not() -> None:
    assert desk(ANY, regions=[Region(0, 4, age=9)]).round()[0][0].age == 0
    assert desk(STAT, regions=[Region(0, 4, age=9)]).round()[0][0].age == 9


def test_what_was_not_touched_keeps_its_age() -> None:
    there = desk(ANY, regions=[Region(0, 4, age=9)])
    there.actor.outcome = lambda _: Applied(0, 0, touched=False)
    assert there.round()[0][0].age == 9


def test_a_scheme_sees_what_one_before_it_did() -> None:
    old = replace(ANY, age_min=5)
    there = desk(old, old, regions=[Region(0, 4, age=9)])
    there.round()
    assert there.actor.calls == [(0, 100, 0, 4)]


def test_counters_add_up_and_the_latest_round_is_told_apart() -> None:
    there = desk(ANY, regions=[Region(0, 10), Region(20, 25)])
    there.actor.outcome = lambda size: Applied(size - 5, 1, passed=size - 1)
    there.round()
    there.targets[0].pop()
    there.round()
    assert there.states[0].stats() == SchemeStats(
        nr_tried=3,
        sz_tried=25,
        nr_applied=2,
        sz_applied=10,
        qt_exceeds=0,
        sz_ops_filter_passed=22,
        nr_snapshots=2,
        effective_bytes=0,
        tried_bytes=10,
    )


def test_a_scheme_applies_at_its_own_interval() -> None:
    there = desk(replace(ANY, apply_interval_us=300_000), ANY, regions=[Region(0, 4)])
    for _ in range(6):
        there.round()
    assert [number for number, *_ in there.actor.calls] == [0, 1, 1, 1, 0, 1, 1, 1]
    assert [state.next_tick for state in there.states] == [6 * SAMPLES, 6 * SAMPLES]


def test_an_inactive_scheme_does_nothing_and_misses_its_turn() -> None:
    there = desk(ANY, regions=[Region(0, 4)])
    there.states[0].active = False
    there.round()
    assert there.actor.calls == []
    assert there.states[0].next_tick == SAMPLES


def test_snapshots_are_counted_per_target_up_to_their_limit() -> None:
    there = Desk([SchemeState(replace(ANY, max_nr_snapshots=3))], [[Region(0, 4)], [Region(0, 4)]])
    there.round()
    there.round()
    assert [pid for _, pid, *_ in there.actor.calls] == [100, 101, 100]
    assert there.states[0].nr_snapshots == 3
    there.round()
    assert (there.states[0].nr_snapshots, there.states[0].tried_bytes) == (3, 4)


def test_core_filters_split_and_what_they_reject_was_not_tried() -> None:
    item = FilterSpec("addr", matching=True, allow=False, addr_start=30, addr_end=60)
    there = desk(replace(ANY, core_filters=(item,)), regions=[Region(0, 100, age=5)])
    there.round()
    assert there.actor.pieces() == [(0, 30), (60, 100)]
    assert (there.states[0].nr_tried, there.states[0].sz_tried) == (2, 70)
    assert [(r.start, r.end, r.age) for r in there.targets[0]] == [
        (0, 30, 0), (30, 60, 5), (60, 100, 0),
    ]  # fmt: skip


def test_a_target_filter_is_on_the_index_of_the_process() -> None:
    item = FilterSpec("target", matching=True, allow=True, target_idx=1)
    there = Desk(
        [SchemeState(replace(ANY, core_filters=(item,)))], [[Region(0, 4)], [Region(0, 4)]]
    )
    there.round()
    assert there.actor.calls == [(0, 101, 0, 4)]


def test_pieces_that_know_the_same_are_joined_again() -> None:
    item = FilterSpec("addr", matching=True, allow=False, addr_start=30, addr_end=60)
    there = desk(replace(STAT, core_filters=(item,)), regions=[Region(0, 100, 3, 3, age=5)])
    assert there.round() == [[Region(0, 100, 3, 3, age=5)]]
    assert there.actor.pieces() == [(0, 30), (60, 100)]


@pytest.mark.parametrize(
    "other",
    [
        Region(4, 8, 3, 2, 1, 1, 1),
        Region(4, 8, 2, 3, 1, 1, 1),
        Region(4, 8, 2, 2, 2, 1, 1),
        Region(4, 8, 2, 2, 1, 0, 1),
        Region(4, 8, 2, 2, 1, 1, 0),
        Region(5, 8, 2, 2, 1, 1, 1),
    ],
)
def test_regions_that_differ_stay_apart(other: Region) -> None:
    assert len(desk(STAT, regions=[Region(0, 4, 2, 2, 1, 1, 1), other]).round()[0]) == 2


def test_joining_respects_the_size_limit() -> None:
    there = desk(STAT, regions=[Region(0, 4), Region(4, 8), Region(8, 9)])
    there.size_limit = 5
    assert bounds(there.round()[0]) == [(0, 4), (4, 9)]


@pytest.mark.parametrize("spec", [IDLE, replace(ANY, nr_accesses_max=SAMPLES - 1)])
@pytest.mark.parametrize("left_bp", [0, 9_999])
def test_the_unknown_is_never_idle(spec: SchemeSpec, left_bp: int) -> None:
    there = desk(spec, regions=[Region(0, 4, unknown=1), Region(8, 12)])
    there.round(left_bp=left_bp)
    assert there.actor.pieces() == [(8, 12)]


def test_a_window_that_just_began_is_not_known_better_than_the_last() -> None:
    there = desk(IDLE, regions=[Region(0, 4, last_unknown=SAMPLES)])
    there.round(left_bp=9_500)
    assert there.actor.calls == []
    there.round(left_bp=0)
    assert there.actor.pieces() == [(0, 4)]


@pytest.mark.parametrize(("unknown", "matches"), [(1, True), (2, False)])
def test_failed_checks_might_have_found_accesses(unknown: int, matches: bool) -> None:
    there = desk(replace(ANY, nr_accesses_max=3), regions=[Region(0, 4, 2, unknown=unknown)])
    there.round()
    assert bool(there.actor.calls) is matches


def test_who_does_not_ask_for_idle_memory_gets_the_unknown_too() -> None:
    there = desk(replace(ANY, action="willneed"), regions=[Region(0, 4, unknown=1)])
    there.round()
    assert there.actor.pieces() == [(0, 4)]


def test_stat_counts_the_unknown_and_says_so() -> None:
    there = desk(replace(IDLE, action="stat"), regions=[Region(0, 4, unknown=1), Region(8, 18)])
    there.round()
    state = there.states[0]
    assert (state.tried_bytes, state.unknown_bytes) == (14, 4)
    there.targets[0][0].unknown = 0
    there.round()
    assert (state.tried_bytes, state.unknown_bytes) == (14, 0)


def test_filters_without_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="layers"):
        SchemeState(replace(ANY, filters=(FilterSpec("anon", matching=True),)))


@pytest.mark.parametrize("action", ["pageout", "stat"])
def test_what_a_later_scheme_splits_is_not_tried_again_by_one_before(action: str) -> None:
    """The kernel would: there the piece split off is a region that no scheme has seen."""
    there = desk(replace(ANY, action=action), replace(ANY, quota_bytes=3), regions=[Region(0, 8)])
    there.round()
    assert there.actor.pieces(0) == [(0, 8)]
    assert there.actor.pieces(1) == [(0, 3)]
    assert (there.states[0].tried_bytes, there.states[0].nr_snapshots) == (8, 1)


_patterns = st.builds(
    lambda action, low, age, limited, esz: replace(
        ANY,
        action=action,
        nr_accesses_max=low,
        age_min=age,
        quota_bytes=esz * UNIT if limited else 0,
        weight_age=1,
        weight_nr_accesses=1,
    ),
    st.sampled_from(["pageout", "stat", "willneed", "lru_prio"]),
    st.integers(0, SAMPLES),
    st.integers(0, 4),
    st.booleans(),
    st.integers(1, 90),
)
_addr_filters = st.lists(
    st.builds(
        lambda allow, start, size: FilterSpec(
            "addr", True, allow, addr_start=start * UNIT, addr_end=(start + size) * UNIT
        ),
        st.booleans(),
        st.integers(0, 400),
        st.integers(1, 300),
    ),
    max_size=2,
).map(tuple)


@given(
    st.lists(st.tuples(_patterns, _addr_filters), min_size=1, max_size=3), chains, st.integers(1, 4)
)
def test_rounds_keep_bytes_and_act_on_nothing_twice(
    schemes: list[tuple[SchemeSpec, tuple[FilterSpec, ...]]], regions: list[Region], rounds: int
) -> None:
    before = covered(regions)
    specs = [replace(spec, core_filters=filters) for spec, filters in schemes]
    there = desk(*specs, regions=regions, unit=UNIT)
    for _ in range(rounds):
        there.actor.calls.clear()
        there.round()
        assert covered(there.targets[0]) == before
        assert all(r.start % UNIT == 0 for r in there.targets[0])
        for number, state in enumerate(there.states):
            pieces = there.actor.pieces(number)
            flat = [edge for piece in pieces for edge in piece]
            assert flat == sorted(flat)
            assert sum(b - a for a, b in pieces) == state.tried_bytes
            assert state.unknown_bytes <= state.tried_bytes
