"""Memory figures: pressure, meminfo, cgroups, processes."""

from __future__ import annotations

import errno
import os

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.memory import (
    ProcessMemory,
    Psi,
    PsiLine,
    parse_meminfo,
    parse_numa_stat,
    parse_psi,
    read_cgroup_lru,
    read_cgroup_psi,
    read_meminfo,
    read_node_meminfo,
    read_process_memory,
    read_psi,
)
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from tests.host.fakes import FakeFilesystem

PRESSURE = """\
some avg10=1.50 avg60=0.20 avg300=0.03 total=123456
full avg10=0.75 avg60=0.10 avg300=0.00 total=999
"""
NODE = """\
Node 1 MemTotal:        2000 kB
Node 1 MemFree:          500 kB
Node 1 Active(anon):      40 kB
Node 1 HugePages_Total:     3
"""
NUMA_STAT = """\
anon N0=900 N1=1
inactive_anon N0=100 N1=10
active_anon N0=200 N1=20
inactive_file N0=300 N1=30
active_file N0=400 N1=40
unevictable N0=5000 N1=5000
"""


def test_a_pressure_file_is_parsed() -> None:
    assert parse_psi(PRESSURE) == Psi(PsiLine(1.5, 0.2, 0.03, 123456), PsiLine(0.75, 0.1, 0.0, 999))
    assert parse_psi(PRESSURE.splitlines()[0]).full is None


@pytest.mark.parametrize("answer", [errno.ENOENT, errno.EOPNOTSUPP])
def test_pressure_that_is_off_is_none(answer: int) -> None:
    fs = FakeFilesystem({"/proc/pressure/memory": answer, "/cg/a/memory.pressure": answer})
    assert read_psi(fs, Roots()) is None
    assert read_cgroup_psi(fs, "/cg/a") is None


def test_pressure_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(HostError):
        read_psi(FakeFilesystem({"/proc/pressure/io": errno.EACCES}), Roots(), "io")


def test_pressure_of_machine_and_cgroup_is_read() -> None:
    fs = FakeFilesystem({"/proc/pressure/io": PRESSURE, "/cg/a/memory.pressure": PRESSURE})
    assert read_psi(fs, Roots(), "io") == read_cgroup_psi(fs, "/cg/a") == parse_psi(PRESSURE)


def test_meminfo_is_bytes_but_counts_stay_counts() -> None:
    assert parse_meminfo("MemTotal:  10 kB\nActive(anon): 1 kB\nHugePages_Free: 7\n\n") == {
        "MemTotal": 10240,
        "Active(anon)": 1024,
        "HugePages_Free": 7,
    }
    assert parse_meminfo(NODE)["MemFree"] == 512_000
    assert parse_meminfo(NODE)["HugePages_Total"] == 3


def test_a_node_has_its_own_meminfo() -> None:
    fs = FakeFilesystem(
        {"/sys/devices/system/node/node1/meminfo": NODE, "/proc/meminfo": "MemTotal: 1 kB"}
    )
    assert read_node_meminfo(fs, Roots(), 1) == parse_meminfo(NODE)
    assert read_node_meminfo(fs, Roots(), 0) is None


def test_without_numa_node_0_is_the_machine() -> None:
    fs = FakeFilesystem({"/proc/meminfo": "MemTotal: 1 kB"})
    assert read_node_meminfo(fs, Roots(), 0) == {"MemTotal": 1024}
    assert read_node_meminfo(fs, Roots(), 1) is None


def test_a_cgroups_lru_leaves_out_what_cannot_be_evicted() -> None:
    assert parse_numa_stat(NUMA_STAT)["anon"] == {0: 900, 1: 1}
    fs = FakeFilesystem({"/cg/a/memory.numa_stat": NUMA_STAT})
    assert read_cgroup_lru(fs, "/cg/a", 0) == 1000
    assert read_cgroup_lru(fs, "/cg/a", 1) == 100
    assert read_cgroup_lru(fs, "/cg/a", 2) == 0
    assert read_cgroup_lru(fs, "/cg/b", 0) is None


def test_process_memory_is_read_from_status_or_rollup() -> None:
    fs = FakeFilesystem(
        {
            "/proc/5/status": "Name:\tx kB\nVmRSS:\t     12 kB\nVmSwap:\t  3 kB\nThreads:\t1\n",
            "/proc/5/smaps_rollup": "5500-7ffd ---p 0 00:00 0 [rollup]\nRss: 12 kB\nPss: 7 kB\n"
            "Pss_Anon: 1 kB\nSwap: 3 kB\nSwapPss: 2 kB\n",
            "/proc/2/status": "Name:\tkthreadd\nUid:\t0\n",
            "/proc/6/smaps_rollup": errno.ESRCH,
        }
    )
    assert read_process_memory(fs, Roots(), 5) == ProcessMemory(12288, 3072)
    assert read_process_memory(fs, Roots(), 5, pss=True) == ProcessMemory(12288, 3072, 7168)
    assert read_process_memory(fs, Roots(), 2) == ProcessMemory(0, 0)
    assert read_process_memory(fs, Roots(), 6, pss=True) is None
    assert read_process_memory(fs, Roots(), 7) is None


def test_this_machine_and_process_tell_plausible_figures() -> None:
    fs, roots = RealFilesystem(), Roots()
    info = read_meminfo(fs, roots)
    assert 0 < info["MemFree"] < info["MemTotal"]
    mine = read_process_memory(fs, roots, os.getpid())
    assert mine is not None
    assert 1 << 20 < mine.rss < info["MemTotal"]
    rollup = read_process_memory(fs, roots, os.getpid(), pss=True)
    assert rollup is not None
    assert rollup.pss is not None
    assert 0 < rollup.pss <= rollup.rss


def test_a_missing_meminfo_is_an_error() -> None:
    with pytest.raises(HostError, match="is proc mounted"):
        read_meminfo(FakeFilesystem(), Roots())
