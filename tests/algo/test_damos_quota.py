"""Laws of quotas, priorities and resume points within rounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.actor import Applied, Ration
from damos_agent.algo.damos import SchemeState
from damos_agent.algo.quota import QuotaState, Resume
from damos_agent.algo.region import Region
from damos_agent.model.damon import FilterSpec, GoalSpec, Placement
from tests.algo.regions import UNIT, bounds, chains
from tests.algo.rounds import ANY, IDLE, Desk, desk

COLD_FIRST = replace(ANY, weight_nr_accesses=1, weight_age=1, quota_bytes=10)


def hits(nr: int, start: int, end: int) -> Region:
    return Region(start, end, nr, nr, age=5)


def test_the_quota_splits_the_region_it_ends_in() -> None:
    there = desk(replace(ANY, quota_bytes=10), regions=[Region(0, 6, age=3), Region(7, 17, age=3)])
    there.round()
    assert there.actor.pieces() == [(0, 6), (7, 11)]
    assert bounds(there.targets[0]) == [(0, 6), (7, 11), (11, 17)]
    assert there.states[0].quota.charged == 10


def test_the_split_is_at_a_whole_unit() -> None:
    there = desk(replace(ANY, quota_bytes=10), regions=[Region(0, 24)], unit=4)
    there.round()
    assert there.actor.pieces() == [(0, 8)]


def test_a_full_quota_waits_for_the_next_window() -> None:
    there = desk(replace(ANY, quota_bytes=4, reset_interval_ms=2_000), regions=[Region(0, 24)])
    there.round()
    there.round()
    assert there.actor.pieces() == [(0, 4)]
    there.round()
    assert there.actor.pieces() == [(0, 4), (4, 8)]
    assert there.states[0].stats().qt_exceeds == 1


def test_the_next_window_goes_on_where_the_last_one_ended_and_begins_anew_at_the_end() -> None:
    there = desk(replace(ANY, quota_bytes=10), regions=[Region(0, 12), Region(20, 32)])
    for _ in range(4):
        there.round()
    assert there.actor.pieces() == [(0, 10), (10, 12), (20, 28), (28, 32), (0, 10)]


def test_the_resume_point_is_of_one_process() -> None:
    there = Desk([SchemeState(replace(ANY, quota_bytes=10))], [[Region(0, 8)], [Region(0, 8)]])
    there.round()
    there.round()
    assert [(pid, start, end) for _, pid, start, end in there.actor.calls] == [
        (100, 0, 8), (101, 0, 2), (101, 2, 8),
    ]  # fmt: skip


@pytest.mark.parametrize("gone", [True, False])
def test_a_resume_point_goes_with_its_process(gone: bool) -> None:
    """Also where the process is still there but has no memory that is monitored."""
    there = Desk([SchemeState(replace(ANY, quota_bytes=10))], [[Region(0, 8)], [Region(0, 8)]])
    there.round()
    there.targets[1:] = [] if gone else [[]]
    there.actor.calls.clear()
    there.round()
    assert there.actor.calls == [(0, 100, 0, 8)]


def test_a_region_that_straddles_the_resume_point_is_split_there() -> None:
    there = desk(replace(ANY, quota_bytes=10), regions=[Region(0, 40)])
    there.round()
    there.targets = [[Region(0, 40)]]
    there.actor.calls.clear()
    there.round()
    assert there.actor.pieces() == [(10, 20)]


def test_a_unit_that_straddles_the_resume_point_is_skipped() -> None:
    there = desk(replace(ANY, quota_bytes=4), regions=[Region(0, 40)], unit=4)
    there.states[0].quota = QuotaState(resume=Resume(Placement(100, 1), 10))
    there.round()
    assert there.actor.pieces() == [(12, 16)]


def test_without_a_quota_a_resume_point_of_before_means_nothing() -> None:
    there = desk(ANY, regions=[Region(0, 40)])
    there.states[0].quota = QuotaState(resume=Resume(Placement(7, 1), 10))
    there.round()
    assert there.actor.pieces() == [(0, 40)]


def test_skipping_to_the_resume_point_is_no_snapshot() -> None:
    there = desk(replace(ANY, quota_bytes=8), regions=[Region(0, 8)])
    there.round()
    assert there.states[0].nr_snapshots == 1
    there.round()
    assert (there.states[0].nr_snapshots, there.states[0].nr_tried) == (1, 1)
    there.round()
    assert (there.states[0].nr_snapshots, there.states[0].nr_tried) == (2, 2)


def test_the_coldest_memory_comes_first() -> None:
    there = desk(COLD_FIRST, regions=[hits(9, 0, 20), hits(0, 20, 28), hits(3, 28, 40)])
    there.round()
    assert there.actor.pieces() == [(20, 28), (28, 30)]


def test_memory_clearly_worse_waits_while_there_is_enough_better() -> None:
    there = desk(COLD_FIRST, regions=[hits(9, 0, 20), hits(0, 20, 30)])
    there.round()
    assert there.actor.pieces() == [(20, 30)]


def test_hot_first_for_promotion() -> None:
    there = desk(
        replace(COLD_FIRST, action="migrate_hot"), regions=[hits(0, 0, 20), hits(9, 20, 30)]
    )
    there.round()
    assert there.actor.pieces() == [(20, 30)]


def test_rejected_memory_does_not_starve_the_rest_by_its_priority() -> None:
    item = FilterSpec("addr", matching=True, allow=False, addr_start=0, addr_end=15)
    spec = replace(COLD_FIRST, core_filters=(item,))
    there = desk(spec, regions=[hits(0, 0, 16), hits(9, 16, 40)])
    there.round()
    assert there.actor.pieces() == [(15, 16), (16, 25)]


def test_memory_nobody_can_see_does_not_starve_the_rest_either() -> None:
    blind = Region(0, 16, age=5, unknown=3)
    there = desk(replace(COLD_FIRST, nr_accesses_max=9), regions=[blind, hits(9, 16, 40)])
    there.round()
    assert there.actor.pieces() == [(16, 26)]


def test_rejected_memory_costs_no_quota() -> None:
    item = FilterSpec("addr", matching=True, allow=False, addr_start=0, addr_end=15)
    spec = replace(ANY, quota_bytes=10, core_filters=(item,))
    there = desk(spec, regions=[Region(0, 40)])
    there.round()
    assert there.actor.pieces() == [(15, 20), (20, 25)]
    assert there.states[0].quota.charged == 10


def test_only_what_the_filter_left_is_charged() -> None:
    item = FilterSpec("addr", matching=True, allow=False, addr_start=4, addr_end=100)
    there = desk(replace(ANY, quota_bytes=10, core_filters=(item,)), regions=[Region(0, 40)])
    there.round()
    assert there.states[0].quota.charged == 4


def test_failed_bytes_leave_quota_for_others() -> None:
    spec = replace(ANY, quota_bytes=10, fail_charge_num=0, fail_charge_denom=1)
    there = desk(spec, regions=[Region(0, 8), Region(10, 18)])
    there.actor.outcome = lambda size: Applied(size // 2, 1)
    there.round()
    assert there.actor.pieces() == [(0, 8), (10, 16), (16, 18)]


def test_the_time_budget_counts_what_actions_really_took() -> None:
    """1 MiB takes 4 ms, so 10 ms are 2.5 MiB from the second window on."""
    mib = 1 << 20
    spec = replace(ANY, quota_ms=10)
    there = desk(spec, regions=[Region(0, mib), Region(2 * mib, 99 * mib)], unit=UNIT)
    there.actor.outcome = lambda size: Applied(size, size * 4_000_000 // mib)
    there.round()
    assert there.states[0].quota.charged == 40 * mib
    there.round()
    assert there.states[0].quota.charged == 5 * mib // 2


def test_goals_set_the_quota_and_their_absence_of_news_keeps_it() -> None:
    spec = replace(ANY, goals=(GoalSpec("user_input", 100),))
    there = desk(spec, regions=[Region(0, 40)])
    for expected in (2, 4, 8):
        there.round(scores=(0,))
        assert there.states[0].stats().effective_bytes == expected
    there.round(scores=(None,))
    assert there.states[0].stats().effective_bytes == 8
    there.round(scores=(20_000,))
    assert there.states[0].stats().effective_bytes == 1


def test_the_quota_of_one_scheme_does_not_bind_another() -> None:
    there = desk(replace(ANY, quota_bytes=4), IDLE, regions=[Region(0, 24, age=3)])
    there.round()
    assert there.actor.pieces(0) == [(0, 4)]
    assert there.actor.pieces(1) == [(0, 4), (4, 24)]


@given(chains, st.integers(0, 200), st.integers(1, 6), st.integers(0, 3), st.integers(0, 3))
def test_a_window_never_charges_more_than_its_size(
    regions: list[Region], pages: int, rounds: int, num: int, factor: int
) -> None:
    spec = replace(
        COLD_FIRST,
        quota_bytes=max(pages * UNIT, 1),
        reset_interval_ms=2_000,
        fail_charge_num=num,
        fail_charge_denom=3 if num else 0,
    )
    there = desk(spec, regions=regions, unit=UNIT)
    there.actor.outcome = lambda size: Applied(size * factor // 2, 1)
    for _ in range(rounds):
        there.round()
        assert there.states[0].quota.charged <= spec.quota_bytes


@given(chains, st.integers(1, 40))
def test_every_byte_gets_its_turn(regions: list[Region], pages: int) -> None:
    """Of memory with equal scores, whatever the quota."""
    there = desk(replace(ANY, quota_bytes=pages * UNIT), regions=regions, unit=UNIT)
    total = sum(r.size for r in regions)
    for _ in range(total // (pages * UNIT) + 2):
        there.round()
    seen = {page for a, b in there.actor.pieces() for page in range(a, b, UNIT)}
    assert len(seen) * UNIT == total


def test_what_waits_is_put_together_again() -> None:
    """A slice that fares like what it was cut from takes that back, up to where it differs."""
    there = desk(replace(ANY, quota_bytes=10), regions=[Region(0, 40)])
    rations: list[Ration | None] = []

    def waits(size: int, ration: Ration | None) -> Applied:
        rations.append(ration)
        return Applied(0, 1_000, touched=False, tried=0, until=25 if size == 10 else 0)

    there.actor.rationed = waits
    (regions,) = there.round()
    assert there.actor.pieces() == [(0, 10), (25, 35), (35, 40)]
    assert rations[0] == Ration(10, 40)
    assert [(r.start, r.end) for r in regions] == [(0, 40)]


def test_what_has_been_begun_comes_first_in_the_next_window() -> None:
    """Else the next window would begin something else, and never come back in time."""
    there = desk(replace(ANY, quota_bytes=10), regions=[Region(0, 20), Region(20, 60, age=9)])
    answers = iter([4, 6, 10])
    there.actor.rationed = lambda size, _: Applied(
        size, 1_000, touched=False, tried=next(answers), begun=True
    )
    there.round()
    assert there.actor.pieces() == [(0, 10), (10, 16)]
    assert there.states[0].quota.resume == Resume(Placement(100, 1), 0)


def test_what_went_beyond_a_window_is_paid_by_the_next() -> None:
    """Of a huge page all goes, however little was left."""
    there = desk(replace(ANY, quota_bytes=10), regions=[Region(0, 100)])
    there.actor.rationed = lambda _size, _ration: Applied(25, 1_000, touched=False, tried=25)
    there.round()
    there.round()
    assert len(there.actor.calls) == 1
    there.round()
    assert there.actor.pieces() == [(0, 10), (10, 15)]
