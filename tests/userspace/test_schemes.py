"""Quotas, filters, goals, watermarks and canaries of policies that run in user space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.algo.lower import Intervals
from damos_agent.host.roots import Roots
from damos_agent.model.policy import (
    Action,
    AddressRange,
    Filter,
    FilterType,
    Goal,
    GoalMetric,
    Mode,
    Pattern,
    Quota,
    Scheme,
    Watermarks,
)
from damos_agent.userspace.filtering import join_facts, parse_facts
from damos_agent.userspace.schemes import Schemes, shape
from tests.userspace.contexting import (
    BASE,
    MIB,
    FakeMachine,
    page_context,
    pageout,
    policy_of,
    run,
    work_of,
)

WHOLE = (BASE, BASE + 64 * MIB)
NOW = Pattern(access_max_bp=0)
INTERVALS = Intervals(100_000, 2_000_000)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(str(tmp_path))


def cold(**more: object) -> Scheme:
    return replace(Scheme(Action.COLD, NOW), **more)  # type: ignore[arg-type]


def acted(machine: FakeMachine, scheme: Scheme, seconds: float = 20) -> set[int]:
    """The MiB that were acted on."""
    context = page_context(machine, policy_of(scheme, mode=Mode.ENFORCE))
    run(machine, context, seconds)
    found = {at for _, _, (start, end) in machine.calls for at in range(start, end, 4096)}
    return {(at - BASE) // MIB for at in found}


@pytest.mark.parametrize(
    ("interval_us", "apply_us", "ticks", "expected"),
    [
        (1_000_000, None, 1, (2 * MIB, 1_000)),
        (10_000_000, None, 1, (MIB, 9_000)),
        (1_000_000, 100_000, 1, (MIB, 950)),
        (50_000, 100_000, 1, (2 * MIB, 50)),
        (1_000_000, 100_000, 20, (2 * MIB, 1_000)),
        (1_000_000, 3_000_000, 20, (4 * MIB, 2_000)),
        (1_000_000, 700_000, 1, (MIB, 1_050)),
    ],
)
def test_windows_are_whole_applications(
    interval_us: int, apply_us: int | None, ticks: int, expected: tuple[int, int]
) -> None:
    """With more in them where one is longer; they may end half an application early."""
    scheme = pageout(MIB, interval_us, apply_interval_us=apply_us)
    (spec,) = shape(policy_of(scheme, mode=Mode.ENFORCE), INTERVALS, ticks)
    assert (spec.quota_bytes, spec.reset_interval_ms) == expected


@pytest.mark.parametrize("interval_us", [200_000, 1_000_000, 7_000_000])
def test_the_rate_of_the_quota(machine: FakeMachine, interval_us: int) -> None:
    """A MiB a second, whatever it is measured by, and never more."""
    machine.add(areas=[WHOLE])
    size = interval_us * MIB // 1_000_000
    context = page_context(
        machine, policy_of(cold(quota=Quota(size=size, interval_us=interval_us)), mode=Mode.ENFORCE)
    )
    begun = machine.now_us
    run(machine, context, 60)
    rate = machine.acted_bytes() / (machine.now_us - begun) * 1e6 / MIB
    assert 0.75 <= rate <= 1.05
    effective = context.report().schemes[0].effective_bytes
    assert effective == pytest.approx(size, rel=0.01)


def test_canaries_charge_only_themselves(machine: FakeMachine) -> None:
    """The quota is not used up by memory that waits for its trial; then it goes."""
    machine.add(areas=[WHOLE])
    context = page_context(machine, policy_of(pageout(8 * MIB), mode=Mode.ENFORCE))
    run(machine, context, 5)
    first = context.report()
    assert 0 < first.canaries.sent_bytes <= 4 * MIB
    assert first.schemes[0].sz_tried == first.canaries.sent_bytes
    run(machine, context, 30)
    assert context.report().schemes[0].sz_applied >= 32 * MIB


def test_a_round_cut_short_is_continued(machine: FakeMachine) -> None:
    """What the time for actions does not suffice for keeps its age, and has its turn next."""
    machine.add(areas=[WHOLE])
    context = page_context(machine, policy_of(pageout(), mode=Mode.ENFORCE))
    context.governor._action_bp = 2
    seen = []

    def look() -> None:
        seen.append(context.report().schemes[0].sz_applied)

    run(machine, context, 120, look)
    assert len(set(seen)) > 10
    assert seen[-1] >= 60 * MIB


def test_anonymous_memory_only(machine: FakeMachine) -> None:
    """Written pages of private files are told from read ones nowhere: not certain."""
    file = machine.add(701, [(2 * BASE, 2 * BASE + 16 * MIB)], inode=9)
    machine.add(700, [WHOLE])
    anon = Filter(FilterType.ANON, allow=True)
    assert acted(machine, cold(filters=(anon,)))
    assert {pid for pid, _, _ in machine.calls} == {700}
    assert file.alive


def test_cgroups(machine: FakeMachine) -> None:
    """Only those of one, or all but those."""
    machine.add(700, [WHOLE], cgroup="/a")
    machine.add(701, [(2 * BASE, 2 * BASE + 16 * MIB)], cgroup="/b")
    acted(machine, cold(filters=(Filter(FilterType.MEMCG, allow=True, cgroup="/b"),)))
    assert {pid for pid, _, _ in machine.calls} == {701}
    machine.calls.clear()
    for lock in Path(machine.run, "monitors").iterdir():
        lock.unlink()
    acted(machine, cold(filters=(Filter(FilterType.MEMCG, allow=False, cgroup="/b"),)))
    assert {pid for pid, _, _ in machine.calls} == {700}


def test_addresses(machine: FakeMachine) -> None:
    """To the byte, although regions lie across."""
    machine.add(areas=[WHOLE])
    where = AddressRange(BASE + 3 * MIB, BASE + 5 * MIB)
    assert acted(machine, cold(filters=(Filter(FilterType.ADDR, allow=True, range=where),))) == {
        3,
        4,
    }


def test_targets_keep_their_number(machine: FakeMachine) -> None:
    """When the first has exited, the second does not become the first."""
    first, second = machine.add(700, [WHOLE]), machine.add(701, [WHOLE])
    scheme = cold(filters=(Filter(FilterType.TARGET, allow=True, target_index=0),))
    context = page_context(machine, policy_of(scheme, mode=Mode.ENFORCE))
    run(machine, context, 5)
    assert {pid for pid, _, _ in machine.calls} == {700}
    first.alive = False
    context.retarget((second.placement,))
    machine.calls.clear()
    run(machine, context, 5)
    assert machine.calls == []


def test_filters_in_observe_mode_tell_what_passes(machine: FakeMachine) -> None:
    """Bytes of the mappings that would."""
    machine.add(700, [WHOLE])
    none = Filter(FilterType.ANON, allow=False)
    context = page_context(machine, policy_of(cold(filters=(none,))))
    run(machine, context, 5)
    stats = context.report().schemes[0]
    assert stats.sz_ops_filter_passed == 0
    assert stats.sz_tried >= 64 * MIB
    context.edit(policy_of(cold(filters=(replace(none, allow=True),))))
    run(machine, context, 5)
    assert (context.report().schemes[0].sz_ops_filter_passed or 0) >= 60 * MIB


def test_what_waits_for_its_canaries_has_not_passed_yet(machine: FakeMachine) -> None:
    """Only what was dealt with is counted, as of what was tried."""
    machine.add(700, [WHOLE])
    anon = Filter(FilterType.ANON, allow=True)
    context = page_context(machine, policy_of(pageout(filters=(anon,)), mode=Mode.ENFORCE))
    run(machine, context, 5)
    stats = context.report().schemes[0]
    assert 0 < (stats.sz_ops_filter_passed or 0) == stats.sz_applied == stats.sz_tried <= 4 * MIB


def test_facts_of_mappings() -> None:
    """Neighbours of which the same is known are one."""
    maps = (
        "1000-2000 rw-p 00000000 00:00 0 \n2000-3000 r--p 00000000 00:00 0 [heap]\n"
        "3000-4000 rw-s 00000000 00:01 7 /dev/zero (deleted)\n"
        "4000-5000 r-xp 00000000 08:01 9 /a b\n"
    )
    found = join_facts(parse_facts(maps, "/x"))
    assert [(r.start, r.end, f.anon, f.memcg) for r, f in found] == [
        (0x1000, 0x3000, True, "/x"),
        (0x3000, 0x4000, False, None),
        (0x4000, 0x5000, None, None),
    ]


def test_watermarks(machine: FakeMachine) -> None:
    """Only between low and high, once below mid."""
    machine.add(areas=[WHOLE])
    marks = Watermarks(1_000_000, 600, 400, 100)
    context = page_context(machine, policy_of(cold(watermarks=marks), mode=Mode.ENFORCE))

    def acts(free: int) -> bool:
        machine.files["/proc/meminfo"] = f"MemTotal: 1000 kB\nMemFree: {free} kB\nSwapFree: 9 kB\n"
        machine.calls.clear()
        run(machine, context, 8)
        return bool(machine.calls)

    assert [acts(free) for free in (700, 500, 300, 500, 50, 500, 300)] == [
        *(False, False, True, True, False, False, True),
    ]


def schemes_with(machine: FakeMachine, *goals: Goal) -> Schemes:
    scheme = cold(quota=Quota(goals=goals))
    return Schemes(machine, Roots(), policy_of(scheme, mode=Mode.ENFORCE), INTERVALS)


def test_user_input_is_the_policy_s(machine: FakeMachine) -> None:
    """An edit is how it gets there."""
    schemes = schemes_with(machine, Goal(GoalMetric.USER_INPUT, 100, current=50))
    assert schemes.scores(0) == [5_000]
    told = Goal(GoalMetric.USER_INPUT, 100, current=150)
    scheme = cold(quota=Quota(goals=(told,)))
    schemes.renew(policy_of(scheme, mode=Mode.ENFORCE), INTERVALS)
    assert schemes.scores(0) == [15_000]


def test_pressure_is_a_share_of_time(machine: FakeMachine) -> None:
    """Since the look before, for all goals alike; the first look tells nothing."""
    some = Goal(GoalMetric.MEMORY_PSI_SOME, 100)
    schemes = schemes_with(machine, some, replace(some, target=200))
    zeros = "avg10=0.00 avg60=0.00 avg300=0.00"
    line = f"some {zeros} total={{}}\nfull {zeros} total=0\n"
    machine.files["/proc/pressure/memory"] = line.format(5_000_000)
    schemes._now_us = 1_000_000
    assert schemes.scores(0) == [None, None]
    machine.files["/proc/pressure/memory"] = line.format(5_010_000)
    schemes._now_us = 2_000_000
    assert schemes.scores(0) == [10_000, 5_000]


def test_goals_steer(machine: FakeMachine) -> None:
    """Missed: the quota doubles; met twice over: it all but ends."""
    machine.add(areas=[WHOLE])

    def told(current: int) -> Scheme:
        goal = Goal(GoalMetric.USER_INPUT, 100, current=current)
        return cold(quota=Quota(size=8 * MIB, goals=(goal,)))

    context = page_context(machine, policy_of(told(0), mode=Mode.ENFORCE))
    run(machine, context, 60)
    assert context.report().schemes[0].effective_bytes == pytest.approx(8 * MIB, rel=0.01)
    context.edit(policy_of(told(300), mode=Mode.ENFORCE))
    run(machine, context, 5)
    assert (context.report().schemes[0].effective_bytes or 0) < 4096


def test_the_time_until_a_turn_stays(machine: FakeMachine) -> None:
    """Other intervals do not put it off for ever; a shorter wait is not waited out."""
    schemes = Schemes(machine, Roots(), policy_of(cold(apply_interval_us=60_000_000)), INTERVALS)
    assert schemes.states[0].next_tick == 600
    for tick in range(20, 600, 20):
        assert not schemes.due(tick)
        interval = Intervals(100_000 + tick, 2_000_000 + 20 * tick)
        schemes.renew(schemes.policy, interval)
    assert schemes.states[0].next_tick <= 620
    schemes.renew(policy_of(cold(apply_interval_us=1_000_000)), INTERVALS)
    assert schemes.states[0].next_tick <= 580 + 10


def test_notes(machine: FakeMachine) -> None:
    """What is done otherwise than asked for, only where it is done."""
    machine.add(areas=[WHOLE])
    scheme = Scheme(Action.HUGEPAGE)
    context = page_context(machine, policy_of(scheme, mode=Mode.ENFORCE))
    run(machine, context, 1)
    assert "done as collapse" in context.report().notes[0]
    context.edit(policy_of(scheme))
    assert context.report().notes == ()


def test_several_schemes_have_statistics_of_their_own(machine: FakeMachine) -> None:
    """And one that is gone from the policy takes its own along."""
    machine.add(areas=[WHOLE], hot=[(BASE, BASE + 16 * MIB)])
    hot = Scheme(Action.STAT, Pattern(access_min_bp=5_000))
    context = page_context(machine, policy_of(cold(), hot))
    run(machine, context, 30)
    idle, busy = context.report().schemes
    assert (idle.tried_bytes or 0) > 40 * MIB
    assert (busy.tried_bytes or 0) == pytest.approx(16 * MIB, rel=0.2)
    context.edit(policy_of(cold()))
    assert len(context.report().schemes) == 1
    assert work_of(machine, context.policy)
