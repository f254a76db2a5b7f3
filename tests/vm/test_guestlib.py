# SPDX-License-Identifier: Apache-2.0
"""Inside a guest: the system is what docs/lab.md promises."""

import mmap
import os
import subprocess
from pathlib import Path

import pytest

from tests.vm import guestlib

pytestmark = pytest.mark.guest

needs_damon = pytest.mark.skipif(not guestlib.has_damon(), reason="this kernel has no DAMON")

MIB = 1 << 20
MADV_PAGEOUT = 21  # asm-generic/mman-common.h; Python has no name for it


def test_the_kernel_is_the_one_asked_for() -> None:
    assert os.uname().release.startswith(f"{guestlib.kernel_series()}.")


@needs_damon
def test_damon_sysfs_is_there_and_empty() -> None:
    nr_kdamonds = guestlib.DAMON_ADMIN / "kdamonds" / "nr_kdamonds"
    assert nr_kdamonds.read_text() == "0\n"


def test_a_cgroup_counts_the_memory_of_its_process() -> None:
    with guestlib.cgroup("lab-test") as group:
        child = subprocess.Popen(["sleep", "60"])
        (group / "cgroup.procs").write_text(str(child.pid))
        assert (group / "cgroup.procs").read_text().split() == [str(child.pid)]
        assert int((group / "memory.current").read_text()) >= 0
    assert child.wait() == -9
    assert not group.exists()


def test_pages_go_to_zram_and_come_back_unharmed() -> None:
    with guestlib.zram_swap(size_mib=128) as device:
        memory = mmap.mmap(-1, 32 * MIB)
        for offset in range(0, len(memory), mmap.PAGESIZE):
            memory[offset : offset + 8] = offset.to_bytes(8)
        _page_out(memory)
        swapped = _swap_used_kib(device)
        assert swapped > 24 * 1024
        offsets = range(0, len(memory), mmap.PAGESIZE)
        assert all(memory[at : at + 8] == at.to_bytes(8) for at in offsets)
        memory.close()
    assert str(device) not in Path("/proc/swaps").read_text()


def _page_out(memory: mmap.mmap) -> None:
    memory.madvise(MADV_PAGEOUT)


def _swap_used_kib(device: Path) -> int:
    for line in Path("/proc/swaps").read_text().splitlines():
        words = line.split()
        if words[0] == str(device):
            return int(words[3])
    raise AssertionError(f"{device} is not a swap device")


def test_pressure_stall_information_is_on() -> None:
    assert Path("/proc/pressure/memory").read_text().startswith("some avg10=")


def test_the_host_tree_is_writable_here_only() -> None:
    marker = Path(__file__).with_name(".written-by-a-guest")
    marker.write_text("x")
    assert marker.read_text() == "x"


def test_loopback_answers() -> None:
    assert Path("/sys/class/net/lo/operstate").read_text().strip() in {"unknown", "up"}


@pytest.mark.guest(numa_nodes=2)
def test_two_nodes_have_memory_each() -> None:
    nodes = sorted(Path("/sys/devices/system/node").glob("node[0-9]*/meminfo"))
    totals = [int(path.read_text().split("MemTotal:")[1].split()[0]) for path in nodes]
    assert len(totals) == 2
    assert min(totals) > 900 * 1024


@pytest.mark.guest(kernels=("7.3",))
def test_damon_stat_runs_until_it_is_turned_off() -> None:
    assert guestlib.set_damon_stat(enabled=True)
    assert guestlib.DAMON_STAT.read_text().strip() == "Y"
    assert guestlib.set_damon_stat(enabled=False)
    assert guestlib.DAMON_STAT.read_text().strip() == "N"


@needs_damon
def test_damons_tracepoints_are_there() -> None:
    assert Path("/sys/kernel/tracing/events/damon").is_dir()


@needs_damon
def test_reset_damon_clears_running_kdamonds() -> None:
    guestlib.set_damon_stat(enabled=False)
    root = guestlib.DAMON_ADMIN / "kdamonds"
    (root / "nr_kdamonds").write_text("1")
    (root / "0/contexts/nr_contexts").write_text("1")
    context = root / "0/contexts/0"
    (context / "targets/nr_targets").write_text("1")
    (context / "targets/0/pid_target").write_text(str(os.getpid()))
    (root / "0/state").write_text("on")
    assert (root / "0/state").read_text() == "on\n"
    guestlib.reset_damon()
    assert (root / "nr_kdamonds").read_text() == "0\n"
