"""The filter `young` in user space: pages are asked right before they are acted on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.algo.region import Region
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import (
    Action,
    AddressRange,
    Filter,
    FilterType,
    Mode,
    Pattern,
    ProbeChoice,
    Quota,
    Scheme,
    Userspace,
)
from damos_agent.userspace.capable import check_policy
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.filtering import cut
from damos_agent.userspace.young import runs
from tests.userspace.contexting import (
    BASE,
    MIB,
    SLOW,
    FakeMachine,
    mapping_context,
    page_context,
    pageout,
    policy_of,
    run,
)

WHOLE = (BASE, BASE + 64 * MIB)
ALL = set(range(*WHOLE, PAGE_BYTES))
SPARE_YOUNG = Filter(FilterType.YOUNG, allow=False)
COLD = Scheme(Action.COLD, Pattern(access_max_bp=0), filters=(SPARE_YOUNG,))
SOME = {BASE, BASE + 5 * MIB, BASE + 63 * MIB}


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(str(tmp_path))


def acted(machine: FakeMachine) -> set[int]:
    """The pages that were acted on, in one round."""
    found = {at for _, _, (start, end) in machine.calls for at in range(start, end, PAGE_BYTES)}
    machine.calls.clear()
    return found


def test_young_pages_are_spared_until_they_were_not_accessed_for_a_round(
    machine: FakeMachine,
) -> None:
    """Once asked they are old, as in the kernel; they count as tried but not as passed."""
    process = machine.add(areas=[WHOLE], young=set(SOME))
    context = page_context(machine, policy_of(COLD, mode=Mode.ENFORCE))
    while not machine.calls:
        run(machine, context, 0.1)
    stats = context.report().schemes[0]
    assert acted(machine) == ALL - SOME
    assert (stats.sz_tried, stats.sz_ops_filter_passed) == (64 * MIB, 64 * MIB - 3 * PAGE_BYTES)
    assert stats.sz_applied == stats.sz_ops_filter_passed
    assert process.young == set()
    run(machine, context, 2)
    assert acted(machine) == ALL


def test_only_young_pages(machine: FakeMachine) -> None:
    machine.add(areas=[WHOLE], young=set(SOME))
    only = replace(COLD, filters=(Filter(FilterType.YOUNG, allow=True),))
    context = page_context(machine, policy_of(only, mode=Mode.ENFORCE))
    run(machine, context, 10)
    assert acted(machine) == SOME


def test_what_cannot_be_told_or_is_not_in_memory_passes_no_filter(machine: FakeMachine) -> None:
    """Neither as young nor as old."""
    blind, out = BASE + 8 * MIB, BASE + 40 * MIB
    for allow in (False, True):
        machine.processes.clear()
        process = machine.add(areas=[WHOLE], young={BASE}, out={out})
        only = replace(COLD, filters=(Filter(FilterType.YOUNG, allow=allow),))
        context = page_context(machine, policy_of(only, mode=Mode.ENFORCE))
        run(machine, context, 1.9)
        process.blind = [(blind, blind + PAGE_BYTES)]
        run(machine, context, 0.2)
        assert acted(machine) == ({BASE} if allow else ALL - {BASE, blind, out})
        context.close()


def test_pages_are_only_asked_where_the_answer_matters(machine: FakeMachine) -> None:
    """Asking costs time, and makes them old."""
    machine.add(areas=[WHOLE], young={BASE})
    none = Filter(FilterType.ANON, allow=False)
    context = page_context(
        machine, policy_of(replace(COLD, filters=(none, SPARE_YOUNG)), mode=Mode.ENFORCE)
    )
    run(machine, context, 5)
    assert machine.asked == []
    assert machine.calls == []
    context.edit(policy_of(COLD, mode=Mode.ENFORCE))
    run(machine, context, 5)
    assert machine.asked
    assert machine.calls


def test_memory_is_asked_in_pieces_each_right_before_its_turn(machine: FakeMachine) -> None:
    machine.add(areas=[(BASE, BASE + 256 * MIB)])
    few = replace(SLOW, min_regions=3, max_regions=10)
    context = page_context(machine, policy_of(COLD, mode=Mode.ENFORCE, monitoring=few))
    run(machine, context, 3)
    assert max(end - start for start, end in machine.asked) == 16 * MIB
    assert [(p.start, p.end) for p in cut(Region(0, 40 * MIB))] == [
        (0, 16 * MIB), (16 * MIB, 32 * MIB), (32 * MIB, 40 * MIB),
    ]  # fmt: skip


def test_a_round_without_time_left_asks_no_more(machine: FakeMachine) -> None:
    """The rest keeps its age, was not tried, and the status says so."""
    machine.add(areas=[WHOLE])
    machine.asking_ns = 100_000
    context = page_context(machine, policy_of(COLD, mode=Mode.ENFORCE))
    while not machine.calls:
        run(machine, context, 0.1)
    assert machine.asked[-1][1] < WHOLE[1]
    report = context.report()
    assert 0 < report.schemes[0].sz_tried < 64 * MIB
    assert report.schemes[0].tried_bytes == 64 * MIB
    assert any("filter young" in note for note in report.notes)


def test_the_quotas_time_is_that_of_all_pieces_together(machine: FakeMachine) -> None:
    """Asking for one piece of 16 MiB takes 8 ms here: no other is asked for after it."""
    machine.add(areas=[WHOLE])
    machine.asking_ns = 2_000
    quota = Quota(time_us=5_000, interval_us=60_000_000)
    few = replace(SLOW, min_regions=3, max_regions=3)
    scheme = replace(COLD, quota=quota)
    context = page_context(machine, policy_of(scheme, mode=Mode.ENFORCE, monitoring=few))
    while not machine.calls:
        run(machine, context, 0.1)
    assert sum(end - start for start, end in machine.asked) <= 16 * MIB


def test_counting_takes_no_more_time_for_it_than_monitoring_may(machine: FakeMachine) -> None:
    """Nor does it slow down the monitoring."""
    machine.add(areas=[WHOLE])
    machine.asking_ns = 10_000
    context = page_context(machine, policy_of(COLD))
    begun = machine.now_us
    run(machine, context, 120)
    assert machine.cpu_ns / 1_000 <= 0.012 * (machine.now_us - begun) + 100_000
    report = context.report()
    assert report.stretched == 1
    assert 0 < (report.schemes[0].sz_ops_filter_passed or 0) < 60 * 64 * MIB
    assert any("filter young" in note for note in report.notes)


def test_counting_goes_on_where_the_last_round_stopped(machine: FakeMachine) -> None:
    """Rounds that can ask a fraction of it ask all of it in turn, not the same part again."""
    machine.add(areas=[WHOLE])
    machine.asking_ns = 10_000
    few = replace(SLOW, min_regions=3, max_regions=10)
    context = page_context(machine, policy_of(COLD, monitoring=few))
    run(machine, context, 120)
    asked = [sum(start <= at < end for start, end in machine.asked) for at in sorted(ALL)]
    assert min(asked) > 0
    assert max(asked) <= min(asked) + 2


def test_canaries_are_old_pages_too(machine: FakeMachine) -> None:
    """What is young when the canaries have stayed away is not paged out after all."""
    process = machine.add(areas=[WHOLE])
    out = pageout(filters=(SPARE_YOUNG,))
    context = page_context(machine, policy_of(out, mode=Mode.ENFORCE))
    while not machine.calls:
        run(machine, context, 0.1)
    kept = next(at for at in sorted(ALL) if at not in process.out)
    run(machine, context, 20, lambda: process.young.add(kept))
    assert process.out == ALL - {kept}


def test_a_process_that_goes_while_it_is_asked_is_no_trouble(machine: FakeMachine) -> None:
    process = machine.add(areas=[WHOLE])
    context = page_context(machine, policy_of(COLD, mode=Mode.ENFORCE))
    run(machine, context, 1.9)
    taking = context.take_young

    def go(*arguments: object) -> object:
        process.image += 1
        return taking(*arguments)  # type: ignore[arg-type]

    context._actor._take_young = go  # type: ignore[assignment]
    run(machine, context, 0.2)
    assert machine.calls == []
    assert context.report().schemes[0].sz_tried == 0


def test_a_probe_that_tells_whole_mappings_cannot(machine: FakeMachine) -> None:
    """Whoever chose it; nothing has changed then."""
    machine.add(areas=[WHOLE])
    why = "'young' is about single pages, which probe vma"
    with pytest.raises(UnsupportedError, match=why):
        mapping_context(machine, policy_of(COLD))
    context = mapping_context(machine, policy_of())
    with pytest.raises(UnsupportedError, match=why):
        context.edit(policy_of(COLD))
    assert context.policy == policy_of()


def test_which_probes_may_tell_pages() -> None:
    """Said before anything is tried, where the policy names one that cannot."""
    for probe in ProbeChoice:
        named = replace(SLOW, userspace=Userspace(probe=probe))
        policy = policy_of(COLD, monitoring=named)
        if probe in (ProbeChoice.AUTO, ProbeChoice.PAGE_IDLE, ProbeChoice.PTE):
            check_policy(policy)
        else:
            with pytest.raises(UnsupportedError):
                check_policy(policy)
    with pytest.raises(UnsupportedError, match="brings in those that are not"):
        check_policy(policy_of(replace(COLD, action=Action.WILLNEED)))


def test_pages_told_alike_are_one() -> None:
    pages = [(0, True), (PAGE_BYTES, True), (2 * PAGE_BYTES, None), (4 * PAGE_BYTES, None)]
    assert runs(pages) == [
        (AddressRange(0, 2 * PAGE_BYTES), True),
        (AddressRange(2 * PAGE_BYTES, 3 * PAGE_BYTES), None),
        (AddressRange(4 * PAGE_BYTES, 5 * PAGE_BYTES), None),
    ]
