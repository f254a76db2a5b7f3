"""A policy served by the probe `writes`, on a machine that is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import (
    Action,
    Filter,
    FilterType,
    Mode,
    Pattern,
    Policy,
    ProbeChoice,
    Scheme,
    Userspace,
)
from damos_agent.userspace.capable import check_policy
from damos_agent.userspace.mapping_context import MappingContext
from damos_agent.userspace.writes import WRITES
from tests.userspace.contexting import (
    BASE,
    MIB,
    SLOW,
    FakeMachine,
    FakeMappings,
    mapping_context,
    pageout,
    policy_of,
    run,
    work_of,
)

WRITTEN = (BASE, BASE + 16 * MIB)
READ = (2 * BASE, 2 * BASE + 48 * MIB)
STAT = Scheme(Action.STAT, Pattern(access_max_bp=0))


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = FakeMachine(str(tmp_path))
    made.add(areas=[WRITTEN, READ], hot=[WRITTEN])
    return made


def writes_context(machine: FakeMachine, policy: Policy) -> MappingContext:
    return MappingContext(work_of(machine, policy), FakeMappings(machine, WRITES), machine.tools())


@pytest.mark.parametrize("mode", list(Mode))
def test_it_counts_and_says_what_it_cannot_see(machine: FakeMachine, mode: Mode) -> None:
    context = writes_context(machine, policy_of(STAT, mode=mode))
    run(machine, context, 21)
    report = context.report()
    assert (report.probe, report.granularity) == ("writes", "mapping")
    assert "only writes are seen: what counts as idle here may be read all the time" in report.notes
    assert {r.start: r.nr_accesses for r in context.snapshot().regions} == {BASE: 100, 2 * BASE: 0}
    assert report.schemes[0].sz_tried >= 48 * MIB
    assert machine.calls == []


@pytest.mark.parametrize("action", sorted(set(Action) - {Action.STAT}))
def test_no_action_may_follow_from_it(machine: FakeMachine, action: Action) -> None:
    """Nor be announced, in mode observe: what is not written to may be read all the time."""
    for mode in Mode:
        policy = policy_of(replace(STAT, action=action), mode=mode)
        with pytest.raises(UnsupportedError):
            writes_context(machine, policy)
        monitoring = replace(SLOW, userspace=Userspace(probe=ProbeChoice.WRITES))
        with pytest.raises(UnsupportedError):
            check_policy(replace(policy, monitoring=monitoring))
        check_policy(replace(policy, schemes=(STAT,), monitoring=monitoring))
    assert machine.locks() == []


def test_an_edit_to_another_action_changes_nothing(machine: FakeMachine) -> None:
    context = writes_context(machine, policy_of(STAT))
    with pytest.raises(UnsupportedError, match="which probe writes calls idle"):
        context.edit(policy_of(pageout()))
    assert context.policy == policy_of(STAT)


def test_single_pages_are_not_told(machine: FakeMachine) -> None:
    young = replace(STAT, filters=(Filter(FilterType.YOUNG, allow=True),))
    with pytest.raises(UnsupportedError, match="which probe writes does not tell apart"):
        writes_context(machine, policy_of(young))


def test_while_somebody_else_clears_nothing_is_idle(machine: FakeMachine) -> None:
    context = writes_context(machine, policy_of(STAT))
    run(machine, context, 40)
    machine.foreign = True
    run(machine, context, 70)
    assert any("makes writes forgotten" in note for note in context.report().notes)
    assert {r.start: r.unknown for r in context.snapshot().regions} == {BASE: 0, 2 * BASE: 100}


def test_one_monitor_a_process(machine: FakeMachine) -> None:
    """Whichever accesses it sees."""
    context = writes_context(machine, policy_of(STAT))
    run(machine, context, 5)
    other = mapping_context(machine, policy_of(name="q"))
    run(machine, other, 5)
    assert other.report().targets == 0
    assert other.report().refused
    context.close()
    run(machine, other, 120)
    assert other.report().targets == 1
