"""Modules beside sysfs kdamonds, and plain files around both."""

from __future__ import annotations

import errno

import pytest

from tests.sim.damon import SimulatedDamon
from tests.sim.errors import KernelPanicError
from tests.sim.machine import SimulatedMachine
from tests.sim.subject import STATE, SimulatedWorld, Subject, simulated

STAT = "/sys/module/damon_stat/parameters"


def test_damon_stat_bars_the_way_until_it_is_switched_off() -> None:
    damon = SimulatedDamon("7.3", modules_running={"stat"})
    subject = Subject(damon, SimulatedWorld(damon), damon.kernel)
    subject.stage(2)
    assert damon.read(f"{STAT}/enabled") == "Y\n"
    assert int(damon.read(f"{STAT}/kdamond_pid")) > 0
    assert subject.refusal(STATE, "on") == errno.EBUSY
    damon.write(f"{STAT}/enabled", "N")
    assert damon.read(f"{STAT}/kdamond_pid") == "-1\n"
    subject.put(STATE, "on")
    with pytest.raises(OSError, match="busy"):
        damon.write(f"{STAT}/enabled", "Y")
    subject.put(STATE, "off")
    damon.write(f"{STAT}/enabled", "Y")
    assert damon.modules.running() == {"stat"}


def test_modules_exclude_each_other() -> None:
    damon = SimulatedDamon("7.3", modules_running={"stat"})
    with pytest.raises(OSError, match="busy"):
        damon.write("/sys/module/damon_reclaim/parameters/enabled", "Y")
    damon.write(f"{STAT}/enabled", "Y")
    assert damon.modules.running() == {"stat"}


def test_module_parameters_by_release() -> None:
    assert not SimulatedDamon("6.12").exists(STAT)
    assert SimulatedDamon("6.12").exists("/sys/module/damon_lru_sort")
    assert "kdamond_pid" not in SimulatedDamon("6.18").listdir(STAT)
    reclaim = "/sys/module/damon_reclaim/parameters"
    damon = SimulatedDamon("7.3")
    damon.write(f"{reclaim}/min_age", "5")
    assert damon.read(f"{reclaim}/min_age") == "5\n"
    with pytest.raises(OSError, match="denied"):
        damon.write(f"{STAT}/aggr_interval_us", "1")


def test_plain_files_lie_around_damon() -> None:
    files = {"/proc/1/comm": "init\n", "/proc/meminfo": "MemTotal: 1 kB\n"}
    machine = SimulatedMachine(SimulatedDamon(), files, {"/proc/1/exe": "/sbin/init"})
    assert machine.read("/proc/1/comm") == "init\n"
    assert machine.listdir("/proc/1") == ["comm", "exe"]
    assert machine.readlink("/proc/1/exe") == "/sbin/init"
    assert machine.exists("/proc")
    assert not machine.exists("/proc/2")
    machine.write("/proc/meminfo", "x")
    assert machine.read("/proc/meminfo") == "x"
    assert "admin" in machine.listdir("/sys/kernel/mm/damon")
    assert "damon_stat" in machine.listdir("/sys/module")
    machine.write("/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds", "2")
    assert machine.damon.read("/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds") == "2\n"


@pytest.mark.parametrize(
    ("path", "code"), [("/proc/9/comm", errno.ENOENT), ("/proc", errno.EISDIR)]
)
def test_plain_files_refuse_like_real_ones(path: str, code: int) -> None:
    machine = SimulatedMachine(SimulatedDamon(), {"/proc/1/comm": "init\n"})
    for call in (machine.read, lambda name: machine.write(name, "x")):
        with pytest.raises(OSError, match=path) as refused:
            call(path)
        assert refused.value.errno == code
    with pytest.raises(OSError, match="Not a directory"):
        machine.listdir("/proc/1/comm")
    with pytest.raises(OSError, match="Invalid"):
        machine.readlink("/proc/1/comm")


@pytest.mark.parametrize(("kernel", "fatal"), [("6.16", False), ("6.17", True)])
def test_a_second_command_to_an_ended_kdamond(kernel: str, fatal: bool) -> None:
    subject = simulated(kernel)
    pid = subject.world.spawn()
    subject.stage(pid)
    subject.put(STATE, "on")
    subject.world.kill(pid)
    assert subject.refusal(STATE, "update_schemes_stats") == errno.EINVAL
    if fatal:
        with pytest.raises(KernelPanicError):
            subject.put(STATE, "commit")
    else:
        assert subject.refusal(STATE, "commit") == errno.EBUSY
    assert subject.refusal(STATE, "update_schemes_tried_regions") == errno.EINVAL
    assert subject.refusal(STATE, "update_schemes_tried_regions") == errno.EBUSY
