"""What page-outs cost the processes: a budget of what is needed again, and pauses above it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.model.damon import Placement
from damos_agent.model.policy import Limits, Mode
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.refault import (
    FLOOR_PAGES,
    MINUTE_US,
    Budget,
    Canaried,
    Faults,
    Hold,
    Refaults,
    Span,
    hold_us,
    paged_out,
    seen,
    step,
)
from tests.userspace.contexting import (
    BASE,
    MIB,
    FakeMachine,
    mapping_context,
    page_context,
    pageout,
    policy_of,
    run,
)
from tests.userspace.grouping import FakeCgroups, group_context, group_policy

GIB = 1 << 30
SECOND = 1_000_000
LOOK_US = 2 * SECOND
BUDGET = Budget(20, GIB)
P, Q = Placement(700, 1), Placement(701, 1)


def steps(hold: Hold, a_minute: float, minutes: float, budget: Budget = BUDGET) -> Hold:
    """Looks every two seconds, evenly."""
    now_us = hold.spans[-1].to_us if hold.spans else 0
    for _ in range(int(minutes * 30)):
        pages = int(a_minute / 30)
        hold = step(hold, Span(now_us, now_us + LOOK_US, pages), budget)
        now_us += LOOK_US
    return hold


def test_the_budget_is_a_share_of_what_is_resident_a_minute() -> None:
    """Google's far memory aims at 0.2 % of the working set."""
    assert Budget(20, GIB).pages == pytest.approx(524, abs=1)
    assert Budget(20, MIB).pages == FLOOR_PAGES
    assert Budget(20, MIB, usual=100).pages == FLOOR_PAGES + 100


def test_within_the_budget_nothing_happens() -> None:
    assert steps(Hold(), a_minute=510, minutes=120).times == 0


def test_above_it_page_out_pauses_and_says_why() -> None:
    hold = step(Hold(), Span(0, LOOK_US, 600), BUDGET)
    assert hold.until_us == LOOK_US + MINUTE_US
    assert hold.why == (
        "600 pages that were paged out were needed again within 2 s, over the budget of 524 a "
        "minute (0.2% of 1.0 GiB resident, 32 at least): page-out waits 1m"
    )


def test_the_pause_doubles_while_it_goes_on_and_is_bounded() -> None:
    hold = Hold()
    waits = []
    for _ in range(10):
        now_us = max(hold.until_us, LOOK_US)
        hold = step(hold, Span(now_us - LOOK_US, now_us, 600), BUDGET)
        waits.append((hold.until_us - now_us) // MINUTE_US)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_pause_ends_when_it_has_become_quiet() -> None:
    hold = step(Hold(), Span(0, LOOK_US, 600), BUDGET)
    during = steps(hold, a_minute=0, minutes=0.9)
    assert during.why == hold.why
    assert steps(during, a_minute=0, minutes=0.2).why == ""


def test_quiet_wears_off_what_was() -> None:
    """Each pause is forgotten after as long a time without another."""
    hold = Hold()
    for _ in range(3):
        now_us = max(hold.until_us, LOOK_US)
        hold = step(hold, Span(now_us - LOOK_US, now_us, 600), BUDGET)
    assert (hold.times, hold_us(hold.times - 1)) == (3, 4 * MINUTE_US)
    after = steps(hold, a_minute=0, minutes=4.1)
    assert (after.why, after.times) == ("", 3)
    assert steps(after, a_minute=30, minutes=4).times == 2
    assert steps(after, a_minute=30, minutes=8).times == 0


def test_looks_that_are_rare_are_held_against_as_much_time() -> None:
    assert step(Hold(), Span(0, 10 * MINUTE_US, 5_000), BUDGET).why == ""
    assert step(Hold(), Span(0, 10 * MINUTE_US, 6_000), BUDGET).why != ""


def test_a_handful_in_a_small_process_is_no_harm() -> None:
    small = Budget(20, MIB)
    assert step(Hold(), Span(0, LOOK_US, FLOOR_PAGES), small).why == ""
    assert step(Hold(), Span(0, LOOK_US, FLOOR_PAGES + 1), small).why != ""


def test_before_anything_is_paged_out_no_fault_counts() -> None:
    known, back = seen(Faults(), 0, 1_000)
    assert back == 0
    assert seen(known, LOOK_US, 9_000)[1] == 0


def test_no_more_comes_back_than_went() -> None:
    known = seen(Faults(), 0, 0)[0]
    known = paged_out(known, 10 * PAGE_BYTES)
    known, back = seen(known, LOOK_US, 7)
    assert back == 7
    known, back = seen(known, 2 * LOOK_US, 1_000)
    assert back == 3
    assert seen(known, 3 * LOOK_US, 2_000)[1] == 0


def test_what_was_usual_before_is_allowed_for() -> None:
    """Of the last minute: how it started is no measure."""
    known = Faults()
    count = 50_000
    known = seen(known, 0, 0)[0]
    for look in range(1, 61):
        known = seen(known, look * LOOK_US, count)[0]
        count += 20
    known = paged_out(known, 1000 * PAGE_BYTES)
    assert known.usual == pytest.approx(600)
    known, back = seen(known, 61 * LOOK_US, count)
    assert back == 20
    assert known.out_pages == pytest.approx(1000)


def test_usual_faults_go_on_without_a_pause() -> None:
    refaults = Refaults()
    for look in range(60):
        refaults.look({P: look * 20}, 64 * MIB, 20, look * LOOK_US)
    refaults.took({P: 64 * MIB})
    for look in range(60, 200):
        refaults.look({P: look * 20}, 64 * MIB, 20, look * LOOK_US)
        assert refaults.hold.why == ""
    refaults.look({P: 200 * 20 + 100}, 64 * MIB, 20, 200 * LOOK_US)
    assert "and the 600 of before" in refaults.hold.why


def test_only_who_was_paged_out_counts() -> None:
    """Another process, or a new one, may start and read as it likes."""
    refaults = Refaults()
    refaults.look({P: 0, Q: 0}, 64 * MIB, 20, 0)
    refaults.took({P: MIB, Q: 0})
    refaults.look({P: 5, Q: 90_000}, 64 * MIB, 20, LOOK_US)
    assert refaults.hold.why == ""
    refaults.forget((P,))
    refaults.look({P: 90_000, Q: 90_000}, 64 * MIB, 20, 2 * LOOK_US)
    assert refaults.hold.why == ""


def test_a_count_that_starts_anew_is_no_fault() -> None:
    refaults = Refaults()
    refaults.look({P: 1_000}, 64 * MIB, 20, 0)
    refaults.took({P: MIB})
    refaults.look({P: 5}, 64 * MIB, 20, LOOK_US)
    assert refaults.hold.why == ""


def test_canaries_are_not_charged_again() -> None:
    """Neither while nobody has looked after them, nor when they are found to be back."""
    refaults = Refaults()
    refaults.look({P: 0}, 64 * MIB, 20, 0)
    refaults.took({P: 64 * MIB})
    refaults.look({P: 200}, 64 * MIB, 20, LOOK_US, Canaried(0, 256))
    refaults.look({P: 200}, 64 * MIB, 20, 2 * LOOK_US, Canaried(200, 0))
    refaults.look({P: 220}, 64 * MIB, 20, 3 * LOOK_US, Canaried(200, 0))
    assert refaults.hold.why == ""
    refaults.look({P: 240}, 64 * MIB, 20, 4 * LOOK_US, Canaried(200, 0))
    assert "40 pages" in refaults.hold.why


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(str(tmp_path))


@pytest.mark.parametrize("make", [page_context, mapping_context])
def test_a_context_pauses_page_out_and_nothing_else(machine: FakeMachine, make: object) -> None:
    process = machine.add(areas=[(BASE, BASE + 64 * MIB)])
    policy = policy_of(pageout(2 * MIB), mode=Mode.ENFORCE)
    context = make(machine, policy)  # type: ignore[operator]
    run(machine, context, 20)
    assert process.out
    process.major_faults += 1_000
    run(machine, context, 3)
    (note,) = [note for note in context.report().notes if "needed again" in note]
    assert "1000 pages" in note
    calls, before = len(machine.calls), context.report().schemes[0].sz_tried
    run(machine, context, 50)
    assert len(machine.calls) == calls
    assert context.report().schemes[0].sz_tried == before
    assert context.snapshot().regions
    run(machine, context, 30)
    assert len(machine.calls) > calls
    assert not [note for note in context.report().notes if "needed again" in note]


def test_the_budget_is_the_policys(machine: FakeMachine) -> None:
    process = machine.add()
    policy = policy_of(pageout(2 * MIB), mode=Mode.ENFORCE)
    context = mapping_context(machine, replace(policy, guard=Limits(refaults_bp=1_000)))
    run(machine, context, 20)
    process.major_faults += 200
    run(machine, context, 4)
    assert not [note for note in context.report().notes if "needed again" in note]


def test_another_budget_ends_the_pause(machine: FakeMachine) -> None:
    process = machine.add()
    policy = policy_of(pageout(2 * MIB), mode=Mode.ENFORCE)
    context = mapping_context(machine, policy)
    run(machine, context, 20)
    process.major_faults += 200
    run(machine, context, 4)
    assert context.refaults.hold.why
    context.edit(replace(policy, schemes=(pageout(4 * MIB),)))
    assert context.refaults.hold.why
    context.edit(replace(policy, guard=Limits(refaults_bp=None)))
    calls = len(machine.calls)
    run(machine, context, 10)
    assert len(machine.calls) > calls


def test_who_only_observes_is_not_looked_at(machine: FakeMachine) -> None:
    machine.add()
    context = mapping_context(machine, policy_of(pageout()))
    run(machine, context, 20)
    assert context.refaults.due(0)  # so there was no look ever


def test_of_a_cgroup_its_own_count_is_used(tmp_path: Path) -> None:
    """A few that come back are within the brake's tenth, but not for ever within the budget."""
    machine = FakeCgroups(str(tmp_path), idle=(512 * MIB, 0), back=20)
    context = group_context(machine, group_policy())
    run(machine, context, 60)
    (note,) = [note for note in context.report().notes if "over the budget" in note]
    assert "pages that were paged out were needed again" in note
    taken = machine.taken_bytes()
    held_us = context.refaults.hold.until_us - machine.now_us
    run(machine, context, max(held_us / 1e6 - 3, 0))
    assert machine.taken_bytes() == taken
    run(machine, context, 30)
    assert machine.taken_bytes() > taken


def cyclic(minutes: int, *, slowly: bool) -> list[int]:
    """Pages needed again in each minute, of 32 768 that are all used every 15 s. Page-out takes
    all there are at once, unless `slowly`: then as many as there is room for.
    """
    refaults, everything = Refaults(), 32_768
    faults, out, came = 0, 0, [0] * minutes
    for second in range(minutes * 60):
        now_us = second * SECOND
        if second % 15 == 0:
            faults, came[second // 60], out = faults + out, came[second // 60] + out, 0
        if refaults.due(now_us):
            refaults.look({P: faults}, everything * PAGE_BYTES, 20, now_us)
        room = refaults.room(now_us) if slowly else None
        if second >= 60 and not refaults.hold.why:
            took = everything - out if room is None else min(everything - out, room // PAGE_BYTES)
            refaults.took({P: took * PAGE_BYTES})
            out += took
    return came


def test_after_a_pause_it_starts_slowly_so_that_harm_stays_bounded() -> None:
    """The first time nobody can know; then no more comes back than a few minutes' budgets."""
    slow, fast = cyclic(30, slowly=True), cyclic(30, slowly=False)
    assert sum(fast) >= 4 * 32_768
    assert slow[1] <= 2 * 32_768
    assert max(slow[2:]) <= 4 * 65
    assert sum(slow[2:]) <= 12 * 65


def test_there_is_room_for_everything_again_once_it_was_quiet() -> None:
    refaults = Refaults()
    refaults.took({P: 4096})
    refaults.look({P: 0}, GIB, 20, 0)
    refaults.took({P: GIB})
    refaults.look({P: 10_000}, GIB, 20, LOOK_US)
    assert refaults.hold.why
    rooms = []
    for minute in range(1, 10):
        now_us = LOOK_US + minute * MINUTE_US
        refaults.look({P: 10_000}, GIB, 20, now_us)
        rooms.append(refaults.room(now_us))
    assert rooms[0] == pytest.approx(524 * PAGE_BYTES, abs=PAGE_BYTES)
    assert None in rooms


def test_a_context_goes_on_slowly_after_a_pause(machine: FakeMachine) -> None:
    process = machine.add(areas=[(BASE, BASE + 64 * MIB)])
    context = mapping_context(machine, policy_of(pageout(64 * MIB), mode=Mode.ENFORCE))
    run(machine, context, 20)
    process.major_faults += 20_000
    run(machine, context, 4)
    assert context.refaults.hold.why
    process.out.clear()
    run(machine, context, 70)
    assert not context.refaults.hold.why
    assert [note for note in context.report().notes if "starts slowly" in note]
    room = context.refaults.room(machine.now_us)
    assert room is not None
    assert 0 < len(process.out) * PAGE_BYTES <= 4 * MIB
