"""What a probe found idle in a cgroup is held against the multi-gen LRU, which is only read."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.host.mglru import Generation, LruNode
from damos_agent.host.roots import Roots
from damos_agent.model.policy import CgroupTarget, Mode, Policy, Scheme
from damos_agent.model.userspace import AgesCheck
from damos_agent.userspace.context import Context, Tools
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.memcg import CgroupAges, Verdict
from damos_agent.userspace.page_context import PageContext
from damos_agent.userspace.second_opinion import APART_US, Claim, judge
from tests.host.fakes import FakeFilesystem
from tests.userspace.contexting import (
    BASE,
    MIB,
    SLOW,
    FakeMachine,
    FakePages,
    pageout,
    policy_of,
    run,
    work_of,
)

SECOND = 1_000_000
ROOT = "/sys/fs/cgroup"
LRU_GEN = "/sys/kernel/debug/lru_gen"
HOT = (BASE, BASE + 16 * MIB)
COLD = (2 * BASE, 2 * BASE + 48 * MIB)


class Machine(FakeMachine):
    """The cgroup of its processes: `used` bytes were seen used, `idle` were not, by agings of the
    kernel's own every second.
    """

    used = 16 * MIB
    idle = 48 * MIB
    forbidden_ages = False
    looks = 0

    def read(self, path: str) -> str:
        if path == LRU_GEN:
            self.looks += 1
            if self.forbidden_ages:
                raise PermissionError(errno.EACCES, "not yours", path)
            rows = [(4, 90_000, self.idle), (5, 2_000, 0), (6, 1_000, self.used), (7, 5, 0)]
            lines = [f" {n:>10} {age:>10} {size // 4096} 0 \n" for n, age, size in rows]
            return f"memcg 7 /work\n node     0\n{''.join(lines)}memcg 8 /other\n"
        if path.startswith(ROOT):
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return super().read(path)

    def exists(self, path: str) -> bool:
        return path.startswith(ROOT)

    def tools(self, seed: int = 1) -> Tools:
        ages = CgroupAges(self, Roots())
        return replace(super().tools(seed), ages=lambda: ages)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(str(tmp_path))
    found.add(areas=[HOT, COLD], hot=[HOT])
    return found


def policy(scheme: Scheme, mode: Mode = Mode.ENFORCE) -> Policy:
    return replace(policy_of(scheme, mode=mode, monitoring=SLOW), target=CgroupTarget("/work"))


def context(machine: Machine, wanted: Policy) -> PageContext:
    return PageContext(work_of(machine, wanted), FakePages(machine), machine.tools())


def told(context: Context) -> AgesCheck:
    found = context.report().ages_check
    assert found is not None
    return found


def waits(context: Context) -> bool:
    return any("page-out waits" in note for note in context.report().notes)


def test_where_the_kernel_agrees_memory_goes(machine: Machine) -> None:
    found = context(machine, policy(pageout(2 * MIB)))
    run(machine, found, 20)
    assert told(found).verdict == "agrees"
    assert told(found).idle_us == 4 * SECOND
    assert 32 * MIB <= told(found).claimed_bytes <= 48 * MIB
    assert told(found).room_bytes == 48 * MIB
    assert machine.calls
    assert not waits(found)


def test_while_it_contradicts_nothing_goes_not_even_canaries(machine: Machine) -> None:
    machine.used, machine.idle = 60 * MIB, 4 * MIB
    found = context(machine, policy(pageout(2 * MIB)))
    run(machine, found, 40)
    assert told(found).verdict == "contradicts"
    assert not machine.calls
    assert waits(found)
    machine.used, machine.idle = 16 * MIB, 48 * MIB
    run(machine, found, 40)
    assert machine.calls
    assert not waits(found)


def test_it_cannot_tell_of_memory_that_is_charged_elsewhere(machine: Machine) -> None:
    machine.used = machine.idle = MIB
    found = context(machine, policy(pageout(2 * MIB)))
    run(machine, found, 20)
    assert told(found).verdict == "cannot tell"
    assert "charged elsewhere" in told(found).why
    assert machine.calls


def test_ages_that_can_no_longer_be_read_hinder_nobody(machine: Machine) -> None:
    machine.forbidden_ages = True
    found = context(machine, policy(pageout(2 * MIB)))
    run(machine, found, 20)
    assert told(found).verdict == "cannot tell"
    assert "cannot be read" in told(found).why
    assert machine.calls


def test_who_observes_is_told_and_waits_for_nothing(machine: Machine) -> None:
    machine.used, machine.idle = 60 * MIB, 4 * MIB
    found = context(machine, policy(pageout(), Mode.OBSERVE))
    run(machine, found, 20)
    assert told(found).verdict == "contradicts"
    assert not waits(found)
    machine.processes[700].hot.append(COLD)
    run(machine, found, 40)
    assert found.report().ages_check is None


def test_it_is_asked_twice_a_minute_at_most_and_never_told_to_age(machine: Machine) -> None:
    """`FakeMachine.write` fails."""
    found = context(machine, policy(pageout(), Mode.OBSERVE))
    run(machine, found, 5 * 60)
    assert 5 <= machine.looks <= 5 * 60 * SECOND // APART_US + 1


def test_what_nobody_can_tell_is_not_claimed(machine: Machine) -> None:
    machine.processes.clear()
    machine.add(areas=[HOT, COLD], hot=[HOT], blind=[COLD])
    found = context(machine, policy(pageout(), Mode.OBSERVE))
    run(machine, found, 20)
    assert found.report().ages_check is None
    assert machine.looks == 0


def test_only_cgroups_are_asked_about(machine: Machine) -> None:
    found = context(machine, policy_of(pageout(2 * MIB), mode=Mode.ENFORCE))
    run(machine, found, 20)
    assert found.report().ages_check is None
    found.edit(policy(pageout(2 * MIB)))
    run(machine, found, 20)
    assert found.report().ages_check is not None
    before = found.opinion
    found.edit(policy(pageout(4 * MIB)))
    assert found.opinion is before
    found.edit(replace(policy(pageout(4 * MIB)), target=CgroupTarget("/other")))
    assert found.opinion is not before


def test_a_long_count_ends_and_claims_less(machine: Machine) -> None:
    """20 ms of CPU time: each piece of 64 MiB takes 12 here."""
    machine.processes.clear()
    process = machine.add(areas=[(BASE, BASE + 512 * MIB)])
    machine.used, machine.idle = 0, 512 * MIB
    found = context(machine, policy(pageout(), Mode.OBSERVE))
    handle = found._actor.inner
    count: Callable[..., int] = handle.own_bytes
    asked: list[int] = []

    def dear(who: object, ranges: object, enough: Callable[[], bool]) -> int:
        def slow() -> bool:
            asked.append(machine.cpu_ns)
            machine.cpu_ns += 12_000_000
            return enough()

        return count(who, ranges, slow)

    handle.own_bytes = dear  # type: ignore[assignment,method-assign]
    run(machine, found, 15)
    assert process.size == 512 * MIB
    assert 0 < told(found).claimed_bytes <= 64 * MIB


def test_the_reason_without_swap() -> None:
    node = LruNode(7, "/work", 0, (Generation(1, 9_000, MIB, 0),))
    found = judge(Claim(MIB, SECOND), (node,), swap=False)
    assert (found.verdict, "without swap" in found.why) == (Verdict.CANNOT_TELL, True)


def test_the_ladder_reads_ages_without_trying_them() -> None:
    files: dict[str, str | int] = {
        "/sys/kernel/mm/lru_gen/enabled": "0x0007\n",
        LRU_GEN: "memcg 1 /\n node 0\n",
    }
    fs = FakeFilesystem(files)
    assert isinstance(Ladder(fs, Roots()).readable_ages(), CgroupAges)
    files["/sys/kernel/mm/lru_gen/enabled"] = "0x0001\n"
    assert Ladder(FakeFilesystem(files), Roots()).readable_ages() is None
    fs.files[LRU_GEN] = errno.EACCES
    assert Ladder(fs, Roots()).readable_ages() is None
