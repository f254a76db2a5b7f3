"""Adaptive regions over a page probe, on a machine that is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.algo.region import Region
from damos_agent.model.errors import HostError
from damos_agent.model.policy import (
    Action,
    IntervalsGoal,
    Mode,
    Monitoring,
    Pattern,
    Scheme,
    Userspace,
    Watermarks,
)
from damos_agent.userspace.page_context import PageContext
from tests.userspace.contexting import (
    BASE,
    MIB,
    PAGE_INFO,
    SLOW,
    FakeMachine,
    FakePages,
    hot_bytes,
    page_context,
    pageout,
    policy_of,
    run,
    work_of,
)

WHOLE = (BASE, BASE + 64 * MIB)
HOT = (BASE + 16 * MIB, BASE + 24 * MIB)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(str(tmp_path))


def regions(context: PageContext, pid: int = 700) -> list[Region]:
    return next(t.regions for t in context.targets.values() if t.process.pid == pid)


def covered(found: list[Region]) -> int:
    at = 0
    for region in found:
        assert at <= region.start < region.end
        at = region.end
    return sum(region.size for region in found)


def oldest(context: PageContext) -> int:
    return max(r.age for t in context.targets.values() for r in t.regions)


def test_a_hot_area_is_found_and_no_byte_is_lost(machine: FakeMachine) -> None:
    """At every moment all mapped bytes are covered once, by a number of regions within bounds."""
    machine.add(areas=[WHOLE], hot=[HOT])
    context = page_context(machine, policy_of())

    def look() -> None:
        found = regions(context)
        assert covered(found) == 64 * MIB
        assert 100 <= len(found) <= 1_000

    run(machine, context, 60, look)
    assert hot_bytes(context)[0] == pytest.approx(8 * MIB, rel=0.05)


@pytest.mark.parametrize("pages", [1, 5, 40])
def test_little_memory(machine: FakeMachine, pages: int) -> None:
    """Fewer pages than regions wanted: none is smaller than a page."""
    machine.add(areas=[(BASE, BASE + pages * 4096)])
    context = page_context(machine, policy_of())
    run(machine, context, 30)
    assert covered(regions(context)) == pages * 4096
    assert len(regions(context)) <= pages


def test_many_processes_share_one_budget_of_regions(machine: FakeMachine) -> None:
    """Twenty with gaps inside have together no more than one would."""
    for pid in range(20):
        areas = [(BASE + n * 8 * MIB, BASE + n * 8 * MIB + 4 * MIB) for n in range(40)]
        machine.add(700 + pid, areas, hot=[(BASE, BASE + MIB)])
    context = page_context(machine, policy_of(monitoring=replace(SLOW, max_regions=300)))
    most = 0

    def look() -> None:
        nonlocal most
        if not context._armed or context._tick % 20:
            return
        most = max(most, context.report().regions)

    run(machine, context, 40, look)
    assert 100 <= most <= 300


def test_more_processes_than_regions_are_left_out_with_a_reason(machine: FakeMachine) -> None:
    """Three regions are the least that makes sense for a process."""
    for pid in range(20):
        machine.add(700 + pid)
    context = page_context(
        machine, policy_of(monitoring=replace(SLOW, min_regions=3, max_regions=30))
    )
    run(machine, context, 3)
    report = context.report()
    assert report.targets == 10
    assert "only the 10 oldest processes are watched" in report.notes[0]
    machine.processes[700].alive = False
    run(machine, context, 3)
    assert context.report().targets == 10


def test_first_sight_is_no_evidence(machine: FakeMachine) -> None:
    """Before a whole window has been seen nothing matches, whatever the scheme says."""
    machine.add(areas=[WHOLE])
    eager = Scheme(Action.PAGEOUT, Pattern(access_max_bp=0), apply_interval_us=100_000)
    context = page_context(machine, policy_of(eager))
    run(machine, context, 1.9)
    assert context.report().schemes[0].nr_tried == 0
    run(machine, context, 1)
    assert context.report().schemes[0].nr_tried > 0


def test_the_map_changes(machine: FakeMachine) -> None:
    """What stays mapped keeps its age, what is new has none, and is unknown until it was seen."""
    process = machine.add(areas=[WHOLE])
    eager = Scheme(Action.COLD, Pattern(access_max_bp=0), apply_interval_us=100_000)
    context = page_context(machine, policy_of(eager, mode=Mode.ENFORCE))
    run(machine, context, 20.05)
    process.areas = [WHOLE, (2 * BASE, 2 * BASE + 64 * MIB)]
    machine.calls.clear()
    run(machine, context, 1.5)
    old = [r for r in regions(context) if r.start < 2 * BASE]
    new = [r for r in regions(context) if r.start >= 2 * BASE]
    assert covered(old) == covered(new) == 64 * MIB
    assert {r.age for r in new} == {0}
    assert all(start < 2 * BASE for _, _, (start, _) in machine.calls)
    process.areas = [(2 * BASE, 2 * BASE + 64 * MIB)]
    run(machine, context, 2)
    assert covered(regions(context)) == 64 * MIB


def test_exec_starts_over(machine: FakeMachine) -> None:
    """The new program has nothing of the old one's ages, and is not acted on for them."""
    process = machine.add(areas=[WHOLE])
    context = page_context(machine, policy_of(pageout(), mode=Mode.ENFORCE))
    run(machine, context, 5)
    assert oldest(context) > 0
    process.image = 2
    machine.calls.clear()
    run(machine, context, 3.5)
    assert context.report().targets == 1
    assert oldest(context) <= 1
    assert machine.calls == []


def test_a_reused_pid_is_another_process(machine: FakeMachine) -> None:
    """It is not opened for the one that had it."""
    process = machine.add()
    context = page_context(machine, policy_of())
    run(machine, context, 1)
    process.alive = False
    run(machine, context, 1)
    assert context.report().targets == 0
    context.retarget((replace(process.placement, start_ticks=1),))
    process.alive = True
    run(machine, context, 5)
    assert context.report().targets == 0


def test_what_cannot_be_told_is_never_acted_on(machine: FakeMachine) -> None:
    """Pages of which each check says unknown, among idle ones."""
    blind = (BASE + 32 * MIB, BASE + 48 * MIB)
    machine.add(areas=[WHOLE], blind=[blind])
    eager = pageout(pattern=Pattern(access_max_bp=0))
    context = page_context(machine, policy_of(eager, mode=Mode.ENFORCE))
    run(machine, context, 60)
    acted = [(start, end) for _, _, (start, end) in machine.calls]
    assert sum(end - start for start, end in acted) > 8 * MIB
    inside = sum(max(min(end, blind[1]) - max(start, blind[0]), 0) for start, end in acted)
    assert inside < MIB


def test_observing_acts_on_nothing(machine: FakeMachine) -> None:
    """And tells what it would have."""
    machine.add(areas=[WHOLE], hot=[HOT])
    context = page_context(machine, policy_of(pageout(MIB)))
    run(machine, context, 30)
    assert machine.calls == []
    assert context.report().schemes[0].tried_bytes == pytest.approx(56 * MIB, rel=0.1)


def test_an_edit_keeps_what_was_learned(machine: FakeMachine) -> None:
    """Ages, statistics, and what the canaries found out."""
    machine.add(areas=[WHOLE], hot=[HOT])
    first = policy_of(pageout(MIB), mode=Mode.ENFORCE)
    context = page_context(machine, first)
    run(machine, context, 20)
    age, before, marks = oldest(context), context.report(), len(context.gate.book)
    assert marks > 0
    context.edit(replace(first, schemes=(pageout(2 * MIB),), labels={"a": "b"}))
    assert oldest(context) == age
    assert context.report() == before
    assert len(context.gate.book) == marks
    run(machine, context, 2)
    assert context.report().schemes[0].sz_tried >= before.schemes[0].sz_tried


def test_an_edit_that_cannot_be_done_changes_nothing(machine: FakeMachine) -> None:
    """Nor does the old actor get the new schemes."""
    machine.add()
    first = policy_of(pageout(), mode=Mode.ENFORCE)
    context = page_context(machine, first)
    with pytest.raises(Exception, match="cannot be done from user space"):
        context.edit(replace(first, schemes=(Scheme(Action.LRU_PRIO),)))
    assert context.policy is first
    run(machine, context, 10)


def test_other_intervals_keep_ages_in_time(machine: FakeMachine) -> None:
    """Ten seconds of age are ten seconds."""
    machine.add(areas=[WHOLE])
    first = policy_of()
    context = page_context(machine, first)
    run(machine, context, 21)
    age_us = oldest(context) * context.intervals.aggr_us
    slower = replace(SLOW, sample_us=500_000, aggr_us=5_000_000)
    context.edit(replace(first, monitoring=slower))
    assert context.intervals.aggr_us == 5_000_000
    assert age_us - 5_000_000 < oldest(context) * 5_000_000 <= age_us
    assert context.gate.book.limits.wait_us == 5_000_000


def test_retargeting_to_the_same_is_free(machine: FakeMachine) -> None:
    """The agent does it every second."""
    process = machine.add(areas=[WHOLE])
    context = page_context(machine, policy_of())
    run(machine, context, 10)
    opened, maps, cpu, age = machine.opened, len(machine.maps_read), machine.cpu_ns, oldest(context)
    context.retarget((process.placement,))
    assert (machine.opened, len(machine.maps_read), machine.cpu_ns) == (opened, maps, cpu)
    assert oldest(context) == age


def test_new_processes_do_not_have_all_maps_read_again(machine: FakeMachine) -> None:
    """Only their own."""
    for pid in range(10):
        machine.add(700 + pid)
    rare = policy_of(monitoring=replace(SLOW, update_us=60_000_000))
    context = page_context(machine, rare)
    run(machine, context, 2)
    machine.maps_read.clear()
    machine.add(800)
    context.retarget(work_of(machine, rare).processes)
    run(machine, context, 2)
    assert context.report().targets == 11
    assert set(machine.maps_read) == {800}


def test_everything_is_given_back(machine: FakeMachine) -> None:
    """Descriptors and locks, of those that left, exited, called exec, and stayed."""
    for pid in range(5):
        machine.add(700 + pid)
    context = page_context(machine, policy_of(pageout(), mode=Mode.ENFORCE))
    run(machine, context, 3)
    assert machine.opened == 10
    assert len(machine.locks()) == 5
    machine.processes[701].alive = False
    machine.processes[702].image = 2
    run(machine, context, 3)
    assert machine.opened == 8
    context.retarget((machine.processes[703].placement,))
    assert machine.opened == 2
    context.close()
    assert machine.opened == 0
    assert machine.locks() == []


def test_no_descriptors_left(machine: FakeMachine) -> None:
    """Whom there is none for is left out for a while; the others go on."""
    machine.add(700)
    context = page_context(machine, policy_of())
    run(machine, context, 1)
    machine.add(701)
    machine.full = True
    context.retarget(work_of(machine, context.policy).processes)
    run(machine, context, 1)
    assert context.report().targets == 1
    assert context.report().notes == ("[Errno 24] Too many open files",)
    assert len(machine.locks()) == 1
    machine.full = False
    run(machine, context, 3)
    assert context.report().targets == 2
    assert context.report().notes == ()


def test_nobody_can_be_watched(machine: FakeMachine) -> None:
    """Then the policy is refused, with the reason."""
    machine.add(700)
    machine.forbidden = {700}
    context = page_context(machine, policy_of())
    run(machine, context, 1)
    assert context.report().refused == "[Errno 1] not yours"


def test_virtual_machines_are_left_to_probes_that_see_guests(machine: FakeMachine) -> None:
    """A guest's memory looks idle to all others."""
    machine.add(guest=True)
    info = replace(PAGE_INFO, name="pte")
    blind = PageContext(work_of(machine, policy_of()), FakePages(machine, info), machine.tools())
    run(machine, blind, 1)
    assert "runs a virtual machine" in blind.report().refused
    blind.close()
    context = page_context(machine, policy_of())
    run(machine, context, 1)
    assert context.report().targets == 1


def test_what_may_not_act_says_so_before_it_has_found_anything(machine: FakeMachine) -> None:
    """It would be called active until the first action fails, and at each retry again."""
    machine.add()
    rights = "CapEff:\t{:016x}\n"
    machine.files["/proc/self/status"] = rights.format(((1 << 40) - 1) & ~(1 << 23))
    enforcing = policy_of(pageout(), mode=Mode.ENFORCE)
    with pytest.raises(HostError, match="not allowed to act") as caught:
        page_context(machine, enforcing)
    assert "CAP_SYS_NICE" in str(caught.value.hint)
    watching = page_context(machine, policy_of(pageout()))
    with pytest.raises(HostError):
        watching.edit(enforcing)
    watching.close()
    machine.files["/proc/self/status"] = rights.format(1 << 23)
    page_context(machine, enforcing).close()


def budget(cpu_bp: int) -> Monitoring:
    return replace(SLOW, userspace=Userspace(cpu_bp=cpu_bp))


@pytest.mark.parametrize("cpu_bp", [50, 100, 200])
def test_the_budget_holds_while_regions_grow(machine: FakeMachine, cpu_bp: int) -> None:
    """Over the first minute, and over each ten seconds, by what it really takes."""
    machine.tick_ns, machine.region_ns = 500_000, 6_000
    machine.add(
        areas=[WHOLE], hot=[(BASE + n * 2 * MIB, BASE + n * 2 * MIB + MIB) for n in range(32)]
    )
    context = page_context(machine, policy_of(monitoring=budget(cpu_bp)))
    begun = machine.cpu_ns
    for second in range(60):
        run(machine, context, 1)
        most_s = (second + 1 + 2) * cpu_bp / 10_000
        assert (machine.cpu_ns - begun) / 1e9 <= most_s
    report = context.report()
    assert report.cpu_bp <= cpu_bp * 1.1
    assert report.stretched > 1
    assert "the budget is" in report.stretch_reason


def test_dear_maps_are_read_rarely(machine: FakeMachine) -> None:
    """Ten thousand mappings cost 40 ms: at one percent, once in sixteen seconds."""
    machine.maps_ns = 40_000_000
    machine.add()
    context = page_context(machine, policy_of())
    run(machine, context, 60)
    assert 3 <= len(machine.maps_read) <= 5


def test_ages_grow_while_the_budget_stretches(machine: FakeMachine) -> None:
    """Costs that creep up change the intervals in few steps; ages survive them."""
    machine.tick_ns = 500_000
    machine.add(areas=[WHOLE], hot=[HOT])
    context = page_context(machine, policy_of())
    seen = set()
    for _ in range(120):
        machine.tick_ns += 20_000
        run(machine, context, 2)
        seen.add(context.intervals)
    assert len(seen) < 15
    assert oldest(context) * context.intervals.aggr_us > 150_000_000


def test_it_relaxes_again(machine: FakeMachine) -> None:
    """What was stretched runs as asked once it is cheap."""
    machine.tick_ns = 5_000_000
    machine.add(areas=[WHOLE])
    context = page_context(machine, policy_of())
    run(machine, context, 60)
    assert context.report().stretched > 5
    machine.tick_ns = 10_000
    run(machine, context, 300)
    assert context.report().stretched == 1
    assert context.intervals.sample_us == 100_000
    assert context.intervals.aggr_us == 2_000_000


def test_tuned_intervals(machine: FakeMachine) -> None:
    """Nearly idle memory is looked at as rarely as allowed, hot memory as often; ages go along."""
    process = machine.add(areas=[WHOLE])
    goal = IntervalsGoal(400, 2, 5_000, 1_000_000)
    context = page_context(machine, policy_of(monitoring=replace(SLOW, intervals_goal=goal)))
    run(machine, context, 60)
    assert (context.intervals.sample_us, context.intervals.samples) == (1_000_000, 20)
    process.hot = [WHOLE]
    run(machine, context, 200)
    assert context.intervals.sample_us == 100_000


def test_memory_outside_the_watermarks_is_not_looked_at(machine: FakeMachine) -> None:
    """Then nothing costs anything; and what was armed before is not believed afterwards."""
    machine.add(areas=[WHOLE])
    marks = Watermarks(1_000_000, 400, 300, 100)
    machine.tick_ns = 1_000
    context = page_context(machine, policy_of(pageout(watermarks=marks)))
    run(machine, context, 10)
    assert machine.cpu_ns == 0
    machine.files["/proc/meminfo"] = "MemTotal: 1000 kB\nMemFree: 200 kB\n"
    run(machine, context, 10)
    assert context.report().schemes[0].nr_tried > 0
    unmarked = replace(context.policy, schemes=(pageout(),))
    machine.files["/proc/meminfo"] = "MemTotal: 1000 kB\nMemFree: 500 kB\n"
    run(machine, context, 5)
    tried = context.report().schemes[0].nr_tried
    context.edit(unmarked)
    run(machine, context, 10)
    assert context.report().schemes[0].nr_tried > tried
