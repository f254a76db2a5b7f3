"""A cgroup as a whole, where no other probe serves it: for how long, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.policy import (
    Action,
    CgroupTarget,
    Mode,
    PidTarget,
    Policy,
    ProbeChoice,
    Scheme,
)
from damos_agent.model.userspace import Orders, Rung, Work
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.memcg import CgroupAges
from damos_agent.userspace.monitor_lock import MonitorLock
from damos_agent.userspace.probe import MappingSampler
from damos_agent.userspace.worker import Contexts
from tests.userspace.contexting import MAPPING_INFO
from tests.userspace.grouping import IDLE, MIB, FakeCgroups, group_policy, pageout

PROCESS = Placement(7, 107)


@dataclass
class Forbidden:
    """A mapping probe that may not look at anybody."""

    info = MAPPING_INFO

    def open(self, process: Placement) -> MappingSampler:
        raise HostError("its mappings cannot be read", hint="CAP_SYS_PTRACE")

    def close(self) -> None:
        pass


@dataclass
class FakeLadder:
    """What works of page and mapping probes, if any."""

    machine: FakeCgroups
    best: object | None = None
    asked: list[ProbeChoice] = field(default_factory=list)

    def choose(self, wanted: ProbeChoice, *, again: bool = False) -> object:
        self.asked.append(wanted)
        if wanted is not ProbeChoice.MEMCG:
            if self.best is None:
                raise UnsupportedError("no probe tells accesses here")
            return self.best
        if not self.machine.mglru:
            raise UnsupportedError("there is no lru_gen")
        return CgroupAges(self.machine, self.machine.tools().roots)

    def rungs(self) -> tuple[Rung, ...]:
        return ()

    def close(self) -> None:
        pass


@pytest.fixture
def machine(tmp_path: Path) -> FakeCgroups:
    return FakeCgroups(str(tmp_path))


AUTO = group_policy(pageout(2 * MIB), probe=ProbeChoice.AUTO)


def follow(
    machine: FakeCgroups, policy: Policy = AUTO, best: object | None = None
) -> tuple[Contexts, FakeLadder]:
    ladder = FakeLadder(machine, best)
    contexts = Contexts(machine.tools(), cast("Ladder", ladder))
    contexts.follow(Orders((Work(policy, (PROCESS,)),)), machine.now_us)
    return contexts, ladder


def turn(machine: FakeCgroups, contexts: Contexts, seconds: float) -> None:
    end_us = machine.now_us + int(seconds * 1e6)
    while (due_us := contexts.due_us) is not None and due_us <= end_us:
        machine.now_us = max(machine.now_us, due_us)
        contexts.turn(lambda: machine.now_us)
    machine.now_us = max(machine.now_us, end_us)


def test_where_no_probe_works(machine: FakeCgroups) -> None:
    contexts, _ = follow(machine)
    turn(machine, contexts, 30)
    (report,) = contexts.report(snapshots=False)
    assert (report.refused, report.probe) == ("", "memcg")
    assert machine.taken_bytes() > 20 * MIB
    assert any("no probe tells accesses here" in note for note in report.notes)


def test_where_nobody_may_be_looked_at(machine: FakeCgroups) -> None:
    """Found out by trying: the probe itself works."""
    contexts, _ = follow(machine, best=Forbidden())
    turn(machine, contexts, 30)
    (report,) = contexts.report(snapshots=False)
    assert report.probe == "memcg"
    assert any("CAP_SYS_PTRACE" in note for note in report.notes)
    assert machine.taken_bytes() > 20 * MIB


@pytest.mark.parametrize(
    "change",
    [
        lambda policy: replace(policy, target=PidTarget((7,))),
        lambda policy: replace(policy, schemes=(Scheme(Action.COLD, IDLE),)),
    ],
)
def test_not_for_what_it_cannot_do(
    machine: FakeCgroups, change: Callable[[Policy], Policy]
) -> None:
    policy = change(AUTO)
    contexts, _ = follow(machine, policy)
    turn(machine, contexts, 10)
    (report,) = contexts.report(snapshots=False)
    assert "no probe tells accesses here" in report.refused
    contexts, ladder = follow(machine, policy, Forbidden())
    turn(machine, contexts, 20)
    (report,) = contexts.report(snapshots=False)
    assert report.probe == "vma"
    assert "CAP_SYS_PTRACE" in report.refused
    # It is not tried over and over.
    assert len(ladder.asked) <= 7


def test_never_blindly_unless_it_is_named(machine: FakeCgroups) -> None:
    machine.mglru = False
    contexts, _ = follow(machine)
    (report,) = contexts.report(snapshots=False)
    assert "the cgroup as a whole: there is no lru_gen" in report.refused
    named = group_policy(pageout(2 * MIB))
    contexts, _ = follow(machine, named)
    turn(machine, contexts, 20)
    (report,) = contexts.report(snapshots=False)
    assert report.refused == ""
    assert machine.reclaimed
    contexts, _ = follow(machine, replace(named, mode=Mode.OBSERVE))
    (report,) = contexts.report(snapshots=False)
    assert report.refused == "there is no lru_gen"


def test_not_beside_another_monitor(machine: FakeCgroups) -> None:
    with MonitorLock(machine.run, PROCESS):
        contexts, _ = follow(machine)
        (report,) = contexts.report(snapshots=False)
        assert "watched already" in report.refused
    turn(machine, contexts, 5)
    (report,) = contexts.report(snapshots=False)
    assert report.refused == ""


def test_it_gives_way_to_a_better_probe_at_an_edit(machine: FakeCgroups) -> None:
    contexts, ladder = follow(machine)
    turn(machine, contexts, 5)
    ladder.best = Forbidden()
    contexts.follow(Orders((Work(AUTO, (PROCESS,)),)), machine.now_us)
    assert contexts.report(snapshots=False)[0].probe == "memcg"
    edited = replace(AUTO, schemes=(pageout(MIB),), target=CgroupTarget("/work"))
    contexts.follow(Orders((Work(edited, (PROCESS,)),)), machine.now_us)
    assert contexts.report(snapshots=False)[0].probe == "vma"
    contexts.close()
    with MonitorLock(machine.run, PROCESS):
        pass
