"""What needs a kernel with the multi-gen LRU and soft-dirty bits, and a cgroup v2 hierarchy."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.policy import (
    Action,
    Monitoring,
    PidTarget,
    Policy,
    ProbeChoice,
    Scheme,
    Userspace,
)
from damos_agent.model.userspace import Work
from damos_agent.userspace.context import Tools
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.mapping import VmaProbe
from damos_agent.userspace.mapping_context import MappingContext
from damos_agent.userspace.memcg import CgroupAges, Kind, Verdict, check
from damos_agent.userspace.writes import WritesProbe, WrittenSampler, decline_writes
from tests.userspace.child import MIB, child
from tests.vm.guestlib import cgroup, zram_swap

pytestmark = pytest.mark.guest(kernels=("6.12", "7.3"))

SECOND = 1_000_000


@pytest.fixture
def debugfs() -> Iterator[None]:
    mounted = os.path.ismount("/sys/kernel/debug")
    if not mounted:
        subprocess.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"], check=True)
    yield
    if not mounted:
        subprocess.run(["umount", "/sys/kernel/debug"], check=True)


def test_mappings_are_read_in_this_kernels_layout() -> None:
    """What is in use is only told at first: under emulation a TLB may keep the rest unseen."""
    for huge in (False, True):
        with child(16 * MIB, huge=huge) as target:
            sampler = VmaProbe(Roots()).open(target.placement)
            first = {(one.start, one.end): one for one in sampler.read()}
            sampler.clear()
            then = {(one.start, one.end): one for one in sampler.read()}
            sampler.close()
        for area in (target.hot, target.cold):
            assert first[area].rss == first[area].referenced == 16 * MIB
            assert (then[area].rss, then[area].referenced) == (16 * MIB, 0)
            assert first[area].huge == (16 * MIB if huge else 0)


def test_soft_dirty_tells_writes_from_reads() -> None:
    assert decline_writes(Roots()) == ""
    with child(16 * MIB) as target:
        sampler = WrittenSampler(Roots(), target.placement)
        sampler.clear()
        target.do("hot")
        target.do("write 4")
        found = {(one.start, one.end): one.referenced for one in sampler.read()}
        sampler.close()
    assert (found[target.hot], found[target.cold]) == (4 * MIB, 0)


def test_a_policy_that_names_it_is_told_how_much_was_written(tmp_path: Path) -> None:
    """And that somebody else has made writes forgotten."""
    fs, roots = RealFilesystem(), Roots(run=str(tmp_path))
    ladder = Ladder(fs, roots)
    tools = Tools(fs, roots, Effects(fs, roots), Random(1))
    with closing(ladder), child(16 * MIB) as target:
        probe = ladder.choose(ProbeChoice.WRITES)
        assert isinstance(probe, WritesProbe)
        sampler = probe.open(target.placement)
        sampler.clear()
        target.do("write 16")
        assert [len(sampler.read()) > 2, sampler.foreign_clears] == [True, 0]
        Path(f"/proc/{target.pid}/clear_refs").write_text("4", encoding="ascii")
        sampler.read()
        assert sampler.foreign_clears == 1
        sampler.close()
        # Looks are dear in an emulated guest: with the usual budget there would be few.
        budget = Userspace(ProbeChoice.WRITES, cpu_bp=5_000, stall_us=1_000_000)
        monitoring = Monitoring(userspace=budget)
        stat = Scheme(Action.STAT)
        policy = Policy("w", PidTarget((target.pid,)), (stat,), monitoring=monitoring)
        context = MappingContext(Work(policy, (target.placement,)), probe, tools)
        with closing(context):
            end = time.monotonic() + 20
            while time.monotonic() < end:
                context.turn(time.monotonic_ns() // 1_000)
                target.do("hot")
                target.do("write 4")
                time.sleep(0.5)
            found = {r.start: r.nr_accesses for r in context.snapshot().regions}
            report = context.report()
    print(report, found)
    assert (report.probe, report.granularity) == ("writes", "mapping")
    assert (found[target.hot[0]], found[target.cold[0]]) == (25, 0)


@pytest.mark.usefixtures("debugfs")
def test_ages_are_told_and_a_part_of_the_old_is_evicted() -> None:
    ages = CgroupAges(RealFilesystem(), Roots())
    assert ages.decline() == ""
    with zram_swap(), cgroup("ages") as directory, child(32 * MIB) as target:
        (directory / "cgroup.procs").write_text(str(target.pid), encoding="ascii")
        # Memory is charged to the cgroup in which it was faulted in.
        target.do("renew")
        for _ in range(4):
            time.sleep(1)
            assert ages.age("/ages")
        (node,) = ages.read("/ages")
        # The last few pages wait in a batch before they are on any list.
        assert 63 * MIB <= sum(one.total_bytes for one in node.generations) < 96 * MIB
        claim = 60 * MIB, [node.generations], 2 * SECOND, Kind.ANONYMOUS
        assert check(*claim, swap=True) is Verdict.AGREES
        for _ in range(2):
            target.do("hot")
            time.sleep(1)
            assert ages.age("/ages")
        (node,) = ages.read("/ages")
        claim = 60 * MIB, [node.generations], 2 * SECOND, Kind.ANONYMOUS
        assert check(*claim, swap=True) is Verdict.CONTRADICTS
        assert 8 * MIB <= ages.evict("/ages", Kind.ANONYMOUS, 8 * MIB, 2 * SECOND) < 16 * MIB
        assert not ages.age("/gone")
