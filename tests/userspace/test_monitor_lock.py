"""One monitor per process, whoever comes first and however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError, OwnershipError
from damos_agent.userspace.monitor_lock import MonitorLock, sweep_monitor_locks

TARGET = Placement(812, 4711)
HOLD = """
import sys
from damos_agent.model.damon import Placement
from damos_agent.userspace.monitor_lock import MonitorLock
with MonitorLock(sys.argv[1], Placement(812, 4711)):
    print(flush=True)
    sys.stdin.readline()
"""


def files(run: Path) -> list[str]:
    return os.listdir(run / "monitors")


def test_the_second_of_our_own_is_told_of_the_policies(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    with MonitorLock(run, TARGET):
        assert files(tmp_path / "run") == ["812-4711.lock"]
        with pytest.raises(OwnershipError, match=r"812.*for another policy"):
            MonitorLock(run, TARGET)
        MonitorLock(run, Placement(812, 4712)).close()  # another process of that pid
    assert files(tmp_path / "run") == []
    lock = MonitorLock(run, TARGET)
    lock.close()
    lock.close()


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    run = str(tmp_path)
    command = [sys.executable, "-c", HOLD, run]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(OwnershipError, match=f"by process {holder.pid}") as caught:
            MonitorLock(run, TARGET)
        assert caught.value.path == f"{run}/monitors/812-4711.lock"
        assert sweep_monitor_locks(run) == 0
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert files(tmp_path) == ["812-4711.lock"]
    MonitorLock(run, TARGET).close()
    assert files(tmp_path) == []


def test_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    assert sweep_monitor_locks(str(tmp_path)) == 0
    with MonitorLock(str(tmp_path), TARGET):
        (tmp_path / "monitors" / "5-6.lock").write_text("99\n")
        (tmp_path / "monitors" / "note").write_text("")
        assert sweep_monitor_locks(str(tmp_path)) == 1
        assert sorted(files(tmp_path)) == ["812-4711.lock", "note"]


def test_no_descriptor_stays(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with MonitorLock(str(tmp_path), TARGET), pytest.raises(OwnershipError):
        MonitorLock(str(tmp_path), TARGET)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_link_is_not_followed_and_a_bad_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "monitors").mkdir()
    (tmp_path / "monitors" / "812-4711.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="lock"):
        MonitorLock(str(tmp_path), TARGET)
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError):
        MonitorLock(str(tmp_path / "file"), TARGET)
