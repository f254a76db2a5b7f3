"""What goals of the agent's own are measured by."""

from __future__ import annotations

import errno

import pytest

from damos_agent.host.gauge import Gauge, Scope
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.model.policy import Goal, GoalMetric
from tests.host.fakes import FakeFilesystem, stat_line

S = 1_000_000
GIB = 1 << 30
HERE = "/sys/fs/cgroup"
WHO = (Placement(10, 7), Placement(11, 7))


def pressure(some: int, full: int) -> str:
    line = "avg10=0.00 avg60=0.00 avg300=0.00 total="
    return f"some {line}{some}\nfull {line}{full}\n"


@pytest.fixture
def fs() -> FakeFilesystem:
    return FakeFilesystem(
        {
            "/proc/meminfo": "MemTotal: 1000 kB\nMemFree: 250 kB\n",
            "/proc/vmstat": "workingset_refault_anon 0\npswpin 0\npgmajfault 0\n",
            "/proc/pressure/io": pressure(0, 0),
            f"{HERE}/x/memory.pressure": pressure(0, 0),
            f"{HERE}/x/memory.current": f"{GIB}\n",
            f"{HERE}/x/memory.stat": "workingset_refault_anon 0\npswpin 0\npgmajfault 0\n",
        }
    )


@pytest.fixture
def gauge(fs: FakeFilesystem) -> Gauge:
    return Gauge(fs, Roots(), HERE)


def test_sizes_of_processes(fs: FakeFilesystem, gauge: Gauge) -> None:
    fs.files["/proc/10/status"] = "Name:\tx\nVmRSS:\t8 kB\nVmSwap:\t0 kB\n"
    fs.files["/proc/11/status"] = "Name:\tx\nVmRSS:\t4 kB\nVmSwap:\t0 kB\n"
    fs.files["/proc/10/smaps_rollup"] = "0-1 x\nRss: 8 kB\nPss: 3 kB\nSwap: 0 kB\n"
    scope = Scope(WHO)
    assert gauge.read(Goal(GoalMetric.RSS, 1), scope, 0) == 12 << 10
    assert gauge.read(Goal(GoalMetric.PSS, 1), scope, 0) == 3 << 10
    assert gauge.read(Goal(GoalMetric.RSS, 1), Scope((Placement(12, 7),)), 0) is None


def test_sizes_of_groups(gauge: Gauge) -> None:
    own, named = Scope(directory=f"{HERE}/x"), Goal(GoalMetric.MEMORY_CURRENT, 1, cgroup="/x")
    assert gauge.read(Goal(GoalMetric.MEMORY_CURRENT, 1), own, 0) == GIB
    assert gauge.read(named, Scope(WHO), 0) == GIB
    assert gauge.read(Goal(GoalMetric.MEMORY_CURRENT, 1), Scope(WHO), 0) is None


def test_free_memory(gauge: Gauge) -> None:
    assert gauge.read(Goal(GoalMetric.FREE_MEMORY, 1), Scope(), 0) == 2_500


def test_pressure_is_that_of_the_time_between_two_reads(fs: FakeFilesystem, gauge: Gauge) -> None:
    machine, group = (
        Goal(GoalMetric.IO_PSI_FULL, 1),
        Goal(GoalMetric.MEMORY_PSI_SOME, 1, cgroup="/x"),
    )
    assert gauge.read(machine, Scope(), 0) is None
    assert gauge.read(group, Scope(), 0) is None
    fs.files["/proc/pressure/io"] = pressure(5 * S, S)
    fs.files[f"{HERE}/x/memory.pressure"] = pressure(2 * S, 0)
    assert gauge.read(machine, Scope(), 10 * S) == 1_000
    assert gauge.read(group, Scope(), 10 * S) == 2_000
    assert gauge.read(machine, Scope(), 20 * S) == 0


def test_pressure_that_is_off_is_unknown(fs: FakeFilesystem, gauge: Gauge) -> None:
    fs.files["/proc/pressure/io"] = errno.EOPNOTSUPP
    assert gauge.read(Goal(GoalMetric.IO_PSI_SOME, 1), Scope(), 0) is None


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (GoalMetric.REFAULT_RATE, "workingset_refault_anon"),
        (GoalMetric.SWAP_IN_RATE, "pswpin"),
        (GoalMetric.MAJOR_FAULT_RATE, "pgmajfault"),
    ],
)
def test_rates_are_of_what_is_resident_per_minute(
    fs: FakeFilesystem, gauge: Gauge, metric: GoalMetric, name: str
) -> None:
    goal, scope = Goal(metric, 20), Scope(directory=f"{HERE}/x")
    assert gauge.read(goal, scope, 0) is None
    stat = f"{HERE}/x/memory.stat"
    fs.files[stat] = str(fs.files[stat]).replace(f"{name} 0", f"{name} 524")
    assert gauge.read(goal, scope, 30 * S) == 39  # 1048 a minute of 262144 pages
    assert gauge.read(goal, scope, 60 * S) == 0


def test_rates_of_processes_are_their_faults(fs: FakeFilesystem, gauge: Gauge) -> None:
    def faulting(count: int) -> None:
        fields = stat_line(10, "work", start=7).split()
        fields[11], fields[23] = str(count), "1000"  # majflt, resident pages
        fs.files["/proc/10/stat"] = " ".join(fields)

    faulting(100)
    goal = Goal(GoalMetric.REFAULT_RATE, 20)
    assert gauge.read(goal, Scope(WHO), 0) is None
    faulting(110)
    fs.files["/proc/vmstat"] = "workingset_refault_anon 900\n"
    assert gauge.read(goal, Scope(WHO), 60 * S) == 100  # 10 of 1000


def test_of_physical_memory_the_machine_counts(fs: FakeFilesystem, gauge: Gauge) -> None:
    goal = Goal(GoalMetric.SWAP_IN_RATE, 20)
    assert gauge.read(goal, Scope(physical=True), 0) is None
    fs.files["/proc/vmstat"] = "pswpin 18\n"
    assert gauge.read(goal, Scope(physical=True), 60 * S) == 18 * 10_000 // (750 // 4)


def test_what_cannot_be_read_at_all_is_an_error(fs: FakeFilesystem, gauge: Gauge) -> None:
    fs.files["/proc/vmstat"] = errno.EIO
    with pytest.raises(HostError):
        gauge.read(Goal(GoalMetric.SWAP_IN_RATE, 20), Scope(physical=True), 0)
