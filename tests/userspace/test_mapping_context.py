"""Whole mappings as regions, on a machine that is not there."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from damos_agent.algo.region import Region
from damos_agent.model.policy import (
    Action,
    IntervalsGoal,
    Mode,
    Monitoring,
    Pattern,
    Scheme,
    Userspace,
)
from damos_agent.userspace.mapping_context import MappingContext, count, largest, rate
from damos_agent.userspace.probe import MappingUse
from tests.userspace.contexting import (
    BASE,
    MIB,
    FakeMachine,
    mapping_context,
    pageout,
    policy_of,
    run,
    work_of,
)

HOT = (BASE, BASE + 16 * MIB)
COLD = (2 * BASE, 2 * BASE + 48 * MIB)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(str(tmp_path))


def rates(context: MappingContext) -> dict[int, int]:
    return {r.start: r.nr_accesses for r in context.snapshot().regions}


def ages_s(context: MappingContext) -> dict[int, float]:
    return {r.start: r.age_us / 1e6 for r in context.snapshot().regions}


def use(size: int, referenced: int, shared: int = 0) -> MappingUse:
    return MappingUse(BASE, BASE + size, size, referenced, size, 0, shared, 0)


def test_rates_are_exact(machine: FakeMachine) -> None:
    """One region a mapping, its rate the share that was referenced; ages in time."""
    half = (3 * BASE, 3 * BASE + 8 * MIB)
    machine.add(areas=[HOT, COLD, half], hot=[HOT, (3 * BASE, 3 * BASE + 2 * MIB)])
    context = mapping_context(machine, policy_of())
    run(machine, context, 21)
    assert rates(context) == {BASE: 100, 2 * BASE: 0, 3 * BASE: 25}
    # The first round cannot say since when.
    assert ages_s(context)[2 * BASE] >= 16


def test_a_stray_access_is_none() -> None:
    """Up to 64 KiB or a thousandth; but not where that is all there is."""
    assert rate(use(64 * MIB, 64 << 10)) == 0
    assert rate(use(64 * MIB, 128 << 10)) == 1
    assert rate(use(4 << 10, 4 << 10)) == 100
    assert rate(use(1 << 30, 1 << 20)) == 0
    assert rate(use(0, 0)) == 0


def test_only_the_largest_are_watched(machine: FakeMachine) -> None:
    """With a note; which goes away with its reason."""
    areas = [(BASE + n * MIB, BASE + n * MIB + (n + 1) * 4096) for n in range(20)]
    process = machine.add(areas=areas)
    few = replace(Monitoring(), min_regions=3, max_regions=10)
    context = mapping_context(machine, policy_of(monitoring=few))
    run(machine, context, 5)
    report = context.report()
    assert report.regions == 10
    assert report.notes == (
        "of some processes only the largest mappings are watched: max_regions is too low",
    )
    process.areas = areas[:5]
    run(machine, context, 5)
    assert context.report().notes == ()
    assert [u.end - u.start for u in largest([use(4096, 0), use(8192, 0)], 1)] == [8192]


def test_acts_on_idle_mappings_only(machine: FakeMachine) -> None:
    """And in full, within the budget of time for actions."""
    machine.add(areas=[HOT, COLD], hot=[HOT])
    cold = Scheme(Action.COLD, Pattern(access_max_bp=0, age_min_us=4_000_000))
    context = mapping_context(machine, policy_of(cold, mode=Mode.ENFORCE))
    run(machine, context, 11)
    assert machine.calls
    assert {start >= COLD[0] for _, _, (start, _) in machine.calls} == {True}
    stats = context.report().schemes[0]
    assert stats.sz_tried >= 48 * MIB


def test_while_somebody_else_clears_nothing_is_idle(machine: FakeMachine) -> None:
    """Found by a look that no clearing of ours came before; over when the next finds none."""
    machine.add(areas=[HOT, COLD], hot=[HOT])
    context = mapping_context(machine, policy_of())
    run(machine, context, 40)
    before = ages_s(context)[2 * BASE]
    machine.foreign = True
    run(machine, context, 40)
    assert any("somebody else" in note for note in context.report().notes)
    known = ages_s(context)
    assert before < known[2 * BASE] < before + 36
    run(machine, context, 40)
    assert ages_s(context)[2 * BASE] == known[2 * BASE]
    assert {r.unknown for r in context.snapshot().regions} == {0, 100}
    machine.foreign = False
    run(machine, context, 40)
    assert context.report().notes == ()
    assert ages_s(context)[2 * BASE] > known[2 * BASE] + 20
    assert ages_s(context)[BASE] > 100


def test_a_look_without_clearing_changes_no_rate(machine: FakeMachine) -> None:
    """It sees two rounds as one."""
    machine.add(areas=[HOT, COLD], hot=[HOT])
    context = mapping_context(machine, policy_of())
    for _ in range(70):
        run(machine, context, 2)
        found = rates(context)
        assert found in ({}, {BASE: 100, 2 * BASE: 0})
    assert ages_s(context)[2 * BASE] > 120


def test_shared_pages_may_be_used_unseen(machine: FakeMachine) -> None:
    """So they are not taken for idle, and get no older."""
    machine.add(areas=[COLD], shared=48 * MIB)
    cold = Scheme(Action.COLD, Pattern(access_max_bp=0))
    context = mapping_context(machine, policy_of(cold, mode=Mode.ENFORCE))
    run(machine, context, 20)
    assert machine.calls == []
    assert set(ages_s(context).values()) == {0}
    context.edit(replace(context.policy, mode=Mode.OBSERVE))
    run(machine, context, 4)
    assert context.schemes.states[0].unknown_bytes == 48 * MIB


def test_a_new_mapping_has_age_0(machine: FakeMachine) -> None:
    """Its neighbours keep theirs."""
    process = machine.add(areas=[COLD])
    context = mapping_context(machine, policy_of())
    run(machine, context, 21)
    process.areas = [HOT, COLD]
    run(machine, context, 2)
    ages = ages_s(context)
    assert ages[BASE] <= 2
    assert ages[2 * BASE] >= 18


def test_the_quota_holds_and_pieces_stay(machine: FakeMachine) -> None:
    """A quota cuts the mapping; its parts go on as parts."""
    machine.add(areas=[COLD])
    slow = Scheme(Action.COLD, Pattern(access_max_bp=0))
    scheme = replace(slow, quota=pageout(4 * MIB).quota)
    context = mapping_context(machine, policy_of(scheme, mode=Mode.ENFORCE))
    begun = machine.now_us
    run(machine, context, 30)
    per_s = machine.acted_bytes() / (machine.now_us - begun) * 1e6 / MIB
    assert 3 <= per_s <= 4
    assert 1 <= context.report().regions <= 16


def test_exec_and_exit(machine: FakeMachine) -> None:
    """A process that called exec starts over, one that ended is let go of."""
    one, other = machine.add(700, [COLD]), machine.add(701, [COLD])
    context = mapping_context(machine, policy_of())
    run(machine, context, 21)
    one.image, other.alive = 2, False
    run(machine, context, 7)
    assert {r.pid for r in context.snapshot().regions} == {700}
    assert context.snapshot().regions[0].age_us <= 4_000_000
    context.close()
    assert machine.opened == 0
    assert machine.locks() == []


def test_a_walk_that_stalls_too_long_is_refused(machine: FakeMachine) -> None:
    """And not tried again at every turn."""
    machine.stall_us = 900_000
    machine.add(areas=[COLD])
    context = mapping_context(machine, policy_of())
    run(machine, context, 20)
    report = context.report()
    assert "a walk would stall the process for 900 ms" in report.refused
    assert machine.walked_us == []
    machine.stall_us = 1_000
    run(machine, context, 60)
    assert context.report().refused == ""
    assert context.report().targets == 1


def test_a_stall_over_the_budget_slows_rounds(machine: FakeMachine) -> None:
    """With the reason."""
    machine.stall_us = 60_000
    machine.add(areas=[COLD])
    context = mapping_context(machine, policy_of())
    run(machine, context, 30)
    report = context.report()
    assert report.aggr_us == 9_000_000
    assert report.stall_us == 60_000
    assert "a walk stalls the process for 60 ms" in report.stretch_reason


@pytest.mark.parametrize("cpu_bp", [50, 100])
def test_many_processes_within_the_budget(machine: FakeMachine, cpu_bp: int) -> None:
    """A hundred of 10 ms a walk: never back to back, and as rarely as the budget says."""
    machine.tick_ns = 10_000_000
    for pid in range(100):
        machine.add(700 + pid, [COLD])
    monitoring = replace(Monitoring(), userspace=Userspace(cpu_bp=cpu_bp))
    context = mapping_context(machine, policy_of(monitoring=monitoring))
    begun_us = machine.now_us
    run(machine, context, 1_200)
    share_bp = machine.cpu_ns / 1_000 / (machine.now_us - begun_us) * 10_000
    assert share_bp <= cpu_bp * 1.1 + 20  # a round may just have ended
    walks = machine.walked_us
    at_once = max(walks.count(when) for when in set(walks))
    assert at_once <= 4
    gaps = [b - a for a, b in pairwise(sorted(set(walks)))]
    assert min(gaps) >= 50_000
    assert context.report().targets == 100
    assert len(context.snapshot().regions) == 100


def test_merged_mappings_are_as_young_as_the_younger() -> None:
    """And what was accessed in one of them counts for both: idle since now."""
    regions = [Region(BASE, BASE + MIB, age=30), Region(BASE + MIB, BASE + 2 * MIB, 0, 100, 30)]
    (found,) = count(regions, [use(2 * MIB, 0)])
    assert (found.start, found.end, found.last_nr_accesses) == (BASE, BASE + 2 * MIB, 100)


def test_rounds_go_on_without_anybody(machine: FakeMachine) -> None:
    """And whoever comes later is watched."""
    context = mapping_context(machine, policy_of())
    run(machine, context, 5)
    machine.add(areas=[COLD])
    context.retarget(work_of(machine, context.policy).processes)
    run(machine, context, 5)
    assert context.report().targets == 1
    assert rates(context) == {2 * BASE: 0}


def test_that_intervals_are_not_tuned_is_told(machine: FakeMachine) -> None:
    machine.add(areas=[HOT])
    goal = IntervalsGoal(400, 3, 5_000, 10_000_000)
    policy = policy_of(pageout())
    tuned = replace(policy, monitoring=replace(policy.monitoring, intervals_goal=goal))
    told = [
        note for note in mapping_context(machine, tuned).report().notes if "intervals_goal" in note
    ]
    assert len(told) == 1
    assert not [n for n in mapping_context(machine, policy).report().notes if "intervals_goal" in n]
