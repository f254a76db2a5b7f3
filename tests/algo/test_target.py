"""Who belongs to a target, and at which index."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.target import Process, Selection, Snapshot, describe, match, place
from damos_agent.model.damon import PLACEHOLDER_PID, Placement
from damos_agent.model.policy import (
    AddressRange,
    CgroupTarget,
    ContainerTarget,
    PhysicalTarget,
    PidTarget,
    ProcessTarget,
    Target,
    UnitTarget,
)

FREE = Placement(PLACEHOLDER_PID, 0)
OWN = 77

PROCESSES = (
    Process(2, 0, "kthreadd", kernel_thread=True),
    Process(10, 500, "nginx", "/usr/sbin/nginx", "nginx: master process", 0),
    Process(11, 400, "nginx", "/opt/bin/nginx", "nginx: worker process", 33),
    Process(12, 300, "python3", "/usr/bin/python3.11", "python3 /srv/app.py", 33),
    Process(OWN, 100, "damos-agent", "/usr/bin/python3.11", "damos-agent app.py", 0),
)


def look(
    target: Target,
    *,
    members: frozenset[int] | str | None = None,
    pinned: dict[int, int] | None = None,
) -> Selection:
    groups = {}
    if members is not None:
        assert isinstance(target, (CgroupTarget, UnitTarget, ContainerTarget))
        groups[target] = members
    snapshot = Snapshot(
        {p.pid: p for p in PROCESSES},
        own_pid=OWN,
        groups=groups,
        uids={"www-data": 33, "33": 33, "gone": None},
        search=lambda pattern, text: re.search(pattern, text) is not None,
        pinned=pinned,
    )
    return match(target, snapshot)


def pids(selection: Selection) -> list[int]:
    return [placement.pid for placement in selection.processes]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (ProcessTarget(exe="nginx"), [11, 10]),
        (ProcessTarget(exe="/usr/sbin/nginx"), [10]),
        (ProcessTarget(exe="sbin/nginx"), []),
        (ProcessTarget(exe="ngin"), []),
        (ProcessTarget(cmdline=r"worker|app\.py$"), [12, 11]),
        (ProcessTarget(user="www-data"), [12, 11]),
        (ProcessTarget(user="33", exe="nginx"), [11]),
        (ProcessTarget(exe="nginx", cmdline="app"), []),
    ],
)
def test_all_given_conditions_must_hold_oldest_first(
    target: ProcessTarget, expected: list[int]
) -> None:
    found = look(target)
    assert pids(found) == expected
    assert bool(found.reason) == (not expected)


def test_reasons_name_what_was_looked_for() -> None:
    assert look(ProcessTarget(exe="foo")).reason == "no process matches exe=foo"
    assert look(ProcessTarget(user="gone")).reason == "no user gone on this machine"
    assert look(CgroupTarget("/x"), members=frozenset()).reason == "cgroup /x has no process"
    assert look(CgroupTarget("/x"), members="it burnt").reason == "it burnt"
    assert look(UnitTarget("a.service")).reason == "systemd unit a.service was not looked at"
    assert look(PidTarget((8, 9))).reason == "no process 8; no process 9"
    assert look(PidTarget((2,))).reason == "process 2 (kthreadd) is a kernel thread"


def test_kernel_threads_and_the_agent_itself_never_match() -> None:
    everything = frozenset(p.pid for p in PROCESSES)
    assert pids(look(CgroupTarget("/"), members=everything)) == [12, 11, 10]
    assert pids(look(ProcessTarget(cmdline=""))) == [12, 11, 10]


def test_the_agent_matches_when_named_by_pid() -> None:
    assert pids(look(PidTarget((OWN, OWN, 12)))) == [OWN, 12]


def test_a_pinned_pid_is_that_process_or_none() -> None:
    assert pids(look(PidTarget((10,)), pinned={10: 500})) == [10]
    reused = look(PidTarget((10,)), pinned={10: 499})
    assert reused == Selection((), "process 10 has exited, and its pid now is another's")


def test_physical_memory_has_no_process_and_needs_no_reason() -> None:
    assert look(PhysicalTarget()) == Selection((), "")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (PidTarget((4,)), "process 4"),
        (PidTarget((4, 5)), "processes 4, 5"),
        (ProcessTarget(exe="a", user="b"), "exe=a user=b"),
        (CgroupTarget("/a"), "cgroup /a"),
        (UnitTarget("a.service"), "systemd unit a.service"),
        (ContainerTarget("ab"), "container ab"),
        (PhysicalTarget(), "physical memory"),
        (PhysicalTarget(numa_node=0), "physical memory of node 0"),
        (PhysicalTarget(ranges=(AddressRange(0, 9),)), "physical memory in 1 range"),
    ],
)
def test_targets_are_described_in_their_own_words(target: Target, words: str) -> None:
    assert describe(target) == words


def test_survivors_stay_newcomers_fill_holes_then_append() -> None:
    a, b, c, d, e = (Placement(pid, 1) for pid in (10, 20, 30, 40, 50))
    assert place((), (a, b, c)) == (a, b, c)
    assert place((a, b, c), (a, c)) == (a, FREE, c)
    assert place((a, b, c), (c, d, e)) == (d, e, c)
    assert place((a, FREE, c), (a, c, d, e)) == (a, d, c, e)
    assert place((a, b, c), (a,)) == (a,)
    assert place((a, b), ()) == ()


def test_a_reused_pid_is_another_process() -> None:
    old, other, new = Placement(10, 1), Placement(20, 1), Placement(10, 2)
    assert place((other, old), (new, other)) == (other, new)


processes = st.builds(Placement, st.integers(3, 12), st.integers(1, 3))
alive_sets = st.lists(processes, unique=True, max_size=8)


@given(st.lists(alive_sets, min_size=1, max_size=6))
def test_placing_keeps_its_laws_through_any_history(history: list[list[Placement]]) -> None:
    """Nobody moves, everybody is there once, nothing trails, and placing again changes nothing."""
    placed: tuple[Placement, ...] = ()
    for alive in history:
        before, placed = placed, place(placed, alive)
        for index, process in enumerate(before):
            if process in alive:
                assert placed[index] == process
        assert sorted(map(repr, set(placed) - {FREE})) == sorted(map(repr, alive))
        assert len([p for p in placed if p != FREE]) == len(alive)
        assert not placed or placed[-1] != FREE
        assert place(placed, alive) == placed


@given(alive_sets, alive_sets)
def test_the_index_space_never_grows_past_need(
    before: list[Placement], alive: list[Placement]
) -> None:
    """An index is added only when no freed one is left for a newcomer."""
    placed = place(tuple(before), alive)
    if len(placed) > len(before):
        assert FREE not in placed
