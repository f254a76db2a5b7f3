"""A cgroup as a whole: ages by agings of ours, eviction of the surely idle, blind reclaim."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from damos_agent.model.damon import Placement
from damos_agent.model.errors import OwnershipError, UnsupportedError
from damos_agent.model.policy import (
    Action,
    CgroupTarget,
    Filter,
    FilterType,
    Mode,
    Pattern,
    Scheme,
    Watermarks,
)
from damos_agent.model.userspace import IdleBytes
from damos_agent.userspace.group_context import GroupContext, spacing_us
from damos_agent.userspace.monitor_lock import MonitorLock
from damos_agent.userspace.refault import SLOW_START
from tests.userspace.contexting import run
from tests.userspace.grouping import (
    ANON,
    FILE,
    IDLE,
    MIB,
    SECOND,
    FakeCgroups,
    group_context,
    group_policy,
    pageout,
)

PAGEOUT = Scheme(Action.PAGEOUT, IDLE)
ANON_ONLY = (Filter(FilterType.ANON, allow=True),)
NO_ANON = (Filter(FilterType.ANON, allow=False),)


@pytest.fixture
def machine(tmp_path: Path) -> FakeCgroups:
    return FakeCgroups(str(tmp_path))


def matched(context: GroupContext) -> int | None:
    return context.report().schemes[0].tried_bytes


def test_what_is_idle_goes_and_what_is_in_use_stays(machine: FakeCgroups) -> None:
    context = group_context(machine)
    run(machine, context, 30)
    assert machine.bytes_of(ANON) == 16 * MIB
    assert context.report().schemes[0].sz_applied == 64 * MIB
    assert matched(context) == 0
    assert context.report().granularity == "cgroup"


def test_nothing_is_taken_before_it_is_surely_idle_for_long_enough(machine: FakeCgroups) -> None:
    context = group_context(machine)
    run(machine, context, 30)
    first_us, _ = machine.taken[0]
    # The first aging finds all memory just used: it came so.
    assert first_us - machine.aged_us[0] >= 4 * SECOND


def test_the_quota_s_rate_holds(machine: FakeCgroups) -> None:
    context = group_context(machine, group_policy(pageout(2 * MIB)))
    run(machine, context, 30)
    begin_us, _ = machine.taken[0]
    seconds = (machine.now_us - begin_us) / 1e6
    assert 0.8 * 2 * MIB * seconds < machine.taken_bytes() <= 2 * MIB * (seconds + 2.2)
    assert max(size for _, size in machine.taken) <= 4 * MIB
    assert context.report().schemes[0].qt_exceeds > 0


def test_observing_counts_and_takes_nothing(machine: FakeCgroups) -> None:
    context = group_context(machine, group_policy(mode=Mode.OBSERVE))
    run(machine, context, 30)
    assert machine.taken == []
    assert matched(context) == 64 * MIB


def test_ages_are_told_without_addresses(machine: FakeCgroups) -> None:
    machine.generations[-1].idle[FILE] = 8 * MIB
    context = group_context(machine, group_policy(mode=Mode.OBSERVE))
    run(machine, context, 30)
    report = context.report(snapshot=True)
    assert report.ages[0] == IdleBytes(4 * SECOND, 64 * MIB, 8 * MIB)
    assert report.ages[-1] == IdleBytes(0, 80 * MIB, 8 * MIB)
    assert report.snapshot is not None
    assert (report.snapshot.regions, report.snapshot.ages) == ((), report.ages)
    assert (report.regions, report.targets) == (0, 1)


def test_agings_are_far_enough_apart_for_long_ages(machine: FakeCgroups) -> None:
    """Of four generations the oldest is surely idle for two times the distance."""
    minute = Scheme(Action.PAGEOUT, replace(IDLE, age_min_us=60 * SECOND))
    policy = group_policy(minute)
    context = group_context(machine, policy)
    run(machine, context, 200)
    gaps = [b - a for a, b in pairwise(machine.aged_us)]
    assert 30 * SECOND <= min(gaps) <= max(gaps) < 33 * SECOND
    assert machine.bytes_of(ANON) == 16 * MIB
    assert machine.taken[0][0] - machine.aged_us[0] >= 60 * SECOND
    report = context.report()
    assert (report.stretched, report.stretch_reason) == (1.0, "")
    assert any("once in 30s" in note for note in report.notes)
    assert report.aggr_us == spacing_us(policy)


def test_agings_that_are_dear_are_rare_and_it_says_so(machine: FakeCgroups) -> None:
    machine.age_ns = 200_000_000
    context = group_context(machine, group_policy(mode=Mode.OBSERVE))
    run(machine, context, 200)
    gaps = [b - a for a, b in pairwise(machine.aged_us)]
    assert min(gaps[1:]) >= 20 * SECOND
    report = context.report()
    assert "takes 200 ms of CPU" in report.stretch_reason
    assert report.stretched == pytest.approx(10, rel=0.1)
    assert report.cpu_bp <= 300  # of ten seconds, in which an aging may lie


def test_looks_go_on_between_rare_agings(machine: FakeCgroups) -> None:
    """So that the quota is spent evenly."""
    machine.age_ns = 200_000_000
    context = group_context(machine, group_policy(pageout(MIB)))
    run(machine, context, 150)
    late = [at for at, _ in machine.taken if at > machine.taken[0][0] + 10 * SECOND]
    assert max(b - a for a, b in pairwise(late)) < 4 * SECOND


@pytest.mark.parametrize(
    ("filters", "left"), [((), (0, 0)), (ANON_ONLY, (0, 8)), (NO_ANON, (64, 0))]
)
def test_filters_choose_the_kind(
    machine: FakeCgroups, filters: tuple[Filter, ...], left: tuple[int, int]
) -> None:
    machine.generations[-1].idle[FILE] = 8 * MIB
    context = group_context(machine, group_policy(replace(PAGEOUT, filters=filters)))
    run(machine, context, 40)
    assert machine.bytes_of(ANON) - 16 * MIB == left[0] * MIB
    assert machine.bytes_of(FILE) == left[1] * MIB


def test_without_swap_anonymous_memory_is_neither_told_nor_taken(machine: FakeCgroups) -> None:
    machine.swap = False
    machine.generations[-1].idle[FILE] = 8 * MIB
    context = group_context(machine)
    run(machine, context, 30)
    assert machine.bytes_of(ANON) == 80 * MIB
    assert machine.bytes_of(FILE) == 0
    report = context.report()
    assert any("no swap" in note for note in report.notes)
    assert report.schemes[0].sz_tried == 8 * MIB
    assert report.ages == (IdleBytes(0, 80 * MIB, 0),)


def test_a_limit_on_swap_counts_as_none(machine: FakeCgroups) -> None:
    machine.files["/sys/fs/cgroup/work/memory.swap.max"] = "0\n"
    run(machine, context := group_context(machine), 30)
    assert machine.taken == []
    assert any("no swap" in note for note in context.report().notes)


def test_what_comes_back_stops_it_for_longer_each_time(machine: FakeCgroups) -> None:
    machine.back = 2
    context = group_context(machine, group_policy(pageout(4 * MIB), refaults_bp=10_000))
    run(machine, context, 60)
    assert any("needed again" in note for note in context.report().notes)
    times = [at for at, _ in machine.taken]
    gaps = [b - a for a, b in pairwise(times)]
    assert 2 <= len(times) <= 8
    assert max(gaps) > 15 * SECOND
    machine.back = 0
    run(machine, context, 120)
    assert context.report().notes == ()
    assert machine.bytes_of(ANON) < 40 * MIB


def test_protected_memory_is_spared(machine: FakeCgroups) -> None:
    """Eviction by hand ignores memory.min and memory.low; we do not."""
    machine.files["/sys/fs/cgroup/work/memory.low"] = f"{50 * MIB}\n"
    run(machine, context := group_context(machine), 40)
    assert machine.bytes_of(ANON) == 50 * MIB
    assert any("memory.low" in note for note in context.report().notes)


def test_watermarks(machine: FakeCgroups) -> None:
    """Outside of them it is not even aged."""
    marks = Watermarks(SECOND, high_permil=400, mid_permil=300, low_permil=100)
    context = group_context(machine, group_policy(replace(PAGEOUT, watermarks=marks)))
    run(machine, context, 20)
    assert machine.aged_us == []
    machine.free_kb = 200
    run(machine, context, 30)
    assert machine.bytes_of(ANON) == 16 * MIB


def test_an_apply_interval(machine: FakeCgroups) -> None:
    scheme = replace(pageout(MIB), apply_interval_us=10 * SECOND)
    context = group_context(machine, group_policy(scheme))
    run(machine, context, 60)
    rounds = sorted({at // SECOND for at, _ in machine.taken})
    gaps = [b - a for a, b in pairwise(rounds) if b - a > 1]
    assert gaps
    assert min(gaps) >= 9
    assert machine.taken_bytes() <= MIB * 60


def test_a_cgroup_that_goes_and_comes_again(machine: FakeCgroups) -> None:
    context = group_context(machine, group_policy(pageout(MIB)))
    run(machine, context, 15)
    machine.there = False
    run(machine, context, 15)
    report = context.report()
    assert (report.targets, report.ages) == (0, ())
    assert report.notes == ("cgroup /work is not there",)
    before = machine.taken_bytes()
    machine.there = True
    run(machine, context, 30)
    assert context.report().targets == 1
    assert machine.taken_bytes() > before


def test_a_cgroup_that_goes_in_the_middle_of_it(machine: FakeCgroups) -> None:
    context = group_context(machine)
    run(machine, context, 3)
    real = machine.write

    def go(path: str, text: str) -> None:
        machine.there = False
        real(path, text)

    machine.write = go  # type: ignore[method-assign]
    run(machine, context, 10)
    assert context.report().targets == 0


def test_a_cgroup_whose_memory_is_not_counted(machine: FakeCgroups) -> None:
    policy = group_policy(target=CgroupTarget("/work/below"))
    machine.files["/sys/fs/cgroup/work/below/cgroup.procs"] = ""
    exists = machine.exists
    machine.exists = lambda path: path in machine.files or exists(path)  # type: ignore[method-assign]
    context = group_context(machine, policy)
    with pytest.raises(UnsupportedError, match="memory controller"):
        run(machine, context, 3)


def test_nobody_else_may_watch_the_processes(machine: FakeCgroups) -> None:
    """Agings clear the bits that other monitors wait for."""
    with MonitorLock(machine.run, Placement(8, 108)):
        with pytest.raises(OwnershipError, match="process 8 is watched"):
            group_context(machine, group_policy(), 7, 8)
        with MonitorLock(machine.run, Placement(7, 107)):
            pass
    context = group_context(machine, group_policy(), 7, 8)
    context.retarget([Placement(8, 108), Placement(9, 109)])
    with MonitorLock(machine.run, Placement(7, 107)):
        pass
    with pytest.raises(OwnershipError):
        MonitorLock(machine.run, Placement(9, 109))
    context.close()
    with MonitorLock(machine.run, Placement(9, 109)):
        pass


def test_an_edit_keeps_what_was_counted(machine: FakeCgroups) -> None:
    context = group_context(machine, group_policy(pageout(2 * MIB)))
    run(machine, context, 20)
    before = context.report().schemes[0].sz_applied
    assert before > 0
    context.edit(group_policy(pageout(4 * MIB)))
    assert context.report().schemes[0].sz_applied == before
    with pytest.raises(UnsupportedError, match="cold"):
        context.edit(group_policy(Scheme(Action.COLD, IDLE)))
    assert context.policy == group_policy(pageout(4 * MIB))
    run(machine, context, 20)
    assert context.report().schemes[0].sz_applied > before


@pytest.mark.parametrize(
    ("scheme", "named"),
    [
        (Scheme(Action.COLD, IDLE), "action 'cold'"),
        (Scheme(Action.PAGEOUT, Pattern(age_min_us=SECOND)), "access rates"),
        (Scheme(Action.STAT, Pattern(access_min_bp=500)), "access rates"),
        (Scheme(Action.PAGEOUT, replace(IDLE, size_min=MIB)), "a size"),
        (Scheme(Action.PAGEOUT, replace(IDLE, age_max_us=9 * SECOND)), "age.max"),
        (replace(PAGEOUT, filters=(Filter(FilterType.MEMCG, True, cgroup="/x"),)), "'memcg'"),
    ],
)
def test_what_cannot_be_told_is_named(machine: FakeCgroups, scheme: Scheme, named: str) -> None:
    with pytest.raises(UnsupportedError, match=named):
        group_context(machine, group_policy(scheme))


def test_everything_can_be_counted(machine: FakeCgroups) -> None:
    context = group_context(machine, group_policy(Scheme(Action.STAT), mode=Mode.OBSERVE))
    run(machine, context, 10)
    assert matched(context) == 80 * MIB


# Without the multi-gen LRU


@pytest.fixture
def blind(machine: FakeCgroups) -> FakeCgroups:
    machine.mglru = False
    machine.used = (0, 0)
    machine.__post_init__()
    return machine


def test_blindly_by_the_quota_and_matches_are_not_told(blind: FakeCgroups) -> None:
    context = group_context(blind, group_policy(pageout(2 * MIB)), why="lockdown")
    run(blind, context, 25)
    assert 2 * MIB * 16 < blind.taken_bytes() <= 2 * MIB * 25
    assert {len(text.split()) for text in blind.reclaimed} == {1}
    assert max(int(text) for text in blind.reclaimed) <= 4 * MIB
    report = context.report()
    assert report.schemes[0].tried_bytes is None
    assert report.ages == ()
    assert any("lockdown" in note for note in report.notes)


def test_blindly_the_brake_ends_it(blind: FakeCgroups) -> None:
    blind.back = 3
    policy = group_policy(pageout(16 * MIB), refaults_bp=10_000)
    context = group_context(blind, policy, why="lockdown")
    run(blind, context, 60)
    assert 2 <= len(blind.reclaimed) <= 8
    assert blind.taken_bytes() <= 8 * 4 * MIB


def test_blindly_it_ends_where_it_falls_short(blind: FakeCgroups) -> None:
    """In that round."""
    blind.generations[-1].idle = [6 * MIB, 0]
    blind.generations[-1].used = [90 * MIB, 0]
    run(blind, group_context(blind, group_policy(pageout(8 * MIB))), 6)
    assert [int(text) for text in blind.reclaimed[:2]] == [4 * MIB, 4 * MIB]
    assert len(blind.reclaimed) <= 3


def test_what_cannot_be_taken_is_said(blind: FakeCgroups) -> None:
    blind.swap = False
    run(blind, context := group_context(blind, group_policy(pageout(8 * MIB))), 8)
    assert any("nothing could be taken" in note for note in context.report().notes)


def test_blindly_with_filters(blind: FakeCgroups) -> None:
    scheme = replace(pageout(2 * MIB), filters=ANON_ONLY)
    run(blind, group_context(blind, group_policy(scheme)), 8)
    assert {text.split()[1] for text in blind.reclaimed} == {"swappiness=200"}


def test_blindly_not_without_a_quota_nor_to_observe_nor_for_a_part(blind: FakeCgroups) -> None:
    with pytest.raises(UnsupportedError, match=r"lockdown.*quota with a size"):
        group_context(blind, group_policy(), why="lockdown")
    with pytest.raises(UnsupportedError, match="ages cannot be told"):
        group_context(blind, group_policy(pageout(MIB), mode=Mode.OBSERVE))
    alone = CgroupTarget("/work", descendants=False)
    with pytest.raises(UnsupportedError, match="cgroups below"):
        group_context(blind, group_policy(pageout(MIB), target=alone))


def test_after_a_pause_for_refaults_it_starts_slowly(machine: FakeCgroups) -> None:
    """As much as may come back, twice that in the next minute; `status` says so."""
    machine.back = 2
    context = group_context(machine, group_policy(pageout(16 * MIB), refaults_bp=100))
    run(machine, context, 20)
    assert context.refaults.hold.why
    machine.back = 0
    before = machine.taken_bytes()
    run(machine, context, 60)
    assert context.refaults.is_slow
    assert SLOW_START in context.report().notes
    budget = context.refaults._budget
    assert budget is not None
    slow = machine.taken_bytes() - before
    assert 0 < slow <= 2 * budget.pages * 4096 + 8 * MIB
    assert machine.bytes_of(ANON) > 40 * MIB
