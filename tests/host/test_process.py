"""Processes: reading them, and what reading them again costs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.process import (
    CMDLINE_MAX,
    RECHECK_SCANS,
    Field,
    Process,
    ProcessTable,
    parse_cgroup,
    parse_cmdline,
    parse_euid,
    parse_stat,
    read_own_pid,
    read_stat,
)
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from tests.host.fakes import FakeFilesystem, add_process, stat_line

ALL = frozenset(Field)


@pytest.fixture
def fs() -> FakeFilesystem:
    return FakeFilesystem({"/proc/meminfo": "", "/proc/self": ""})


def scan(table: ProcessTable, *needs: Field) -> dict[int, Process]:
    return {process.pid: process for process in table.scan(frozenset(needs))}


@pytest.mark.parametrize("comm", ["work", "a) S 9 (b", "tmux: server", "(sd-pam)", "x\ny"])
def test_a_name_may_hold_anything(comm: str) -> None:
    stat = parse_stat(stat_line(42, comm, start=777))
    assert (stat.pid, stat.comm, stat.start_ticks, stat.alive) == (42, comm, 777, True)


@pytest.mark.parametrize("state", ["Z", "X", "x"])
def test_zombies_and_the_dead_are_not_alive(state: str, fs: FakeFilesystem) -> None:
    add_process(fs, 5, state=state)
    assert not parse_stat(stat_line(5, state=state)).alive
    assert ProcessTable(fs, Roots()).scan() == ()


def test_arguments_are_joined_and_padding_is_cut() -> None:
    assert parse_cmdline("a\0-b\0c d\0") == "a -b c d"
    assert parse_cmdline("nginx: worker process\0\0\0\0   ") == "nginx: worker process"
    assert parse_cmdline("") == ""
    assert len(parse_cmdline("x" * 1_000_000)) == CMDLINE_MAX


def test_status_and_cgroup_files_are_parsed() -> None:
    assert parse_euid("Name:\tx\nUid:\t1000\t33\t0\t0\n") == 33
    assert parse_euid("") == -1
    assert parse_cgroup("1:cpu:/a\n0::/b.slice/c.service\n") == "/b.slice/c.service"
    assert parse_cgroup("1:cpu:/a\n") == ""


def test_a_scan_fills_what_is_asked_for(fs: FakeFilesystem) -> None:
    add_process(fs, 5, "w", exe="/usr/bin/w (deleted)", cmdline="w\0-x\0", uid=33, start=9)
    add_process(fs, 2, "kthreadd", kernel_thread=True, start=0)
    table = ProcessTable(fs, Roots())
    assert table.scan() == (
        Process(2, 0, "kthreadd", kernel_thread=True),
        Process(5, 9, "w"),
    )
    assert scan(table, *ALL)[5] == Process(5, 9, "w", "/usr/bin/w", "w -x", 33, "/app.slice")
    assert fs.reads["/proc/2/exe"] == fs.reads["/proc/2/cmdline"] == 0


def test_given_pids_are_the_only_ones_read(fs: FakeFilesystem) -> None:
    for pid in (5, 6, 7):
        add_process(fs, pid)
    table = ProcessTable(fs, Roots())
    assert [p.pid for p in table.scan(pids=(7, 5, 99))] == [5, 7]
    assert fs.reads["/proc/6/stat"] == fs.reads["/proc"] == 0


def test_rescanning_500_processes_reads_one_small_file_each(fs: FakeFilesystem) -> None:
    for pid in range(1000, 1500):
        add_process(fs, pid)
    table = ProcessTable(fs, Roots())
    needs = frozenset({Field.EXE, Field.CMDLINE, Field.UID})
    table.scan(needs)
    table.scan(needs)
    fs.reads.clear()
    assert len(table.scan(needs)) == 500
    stats = sum(count for path, count in fs.reads.items() if path.endswith("/stat"))
    rest = sum(fs.reads.values()) - stats - fs.reads["/proc"]
    assert stats == 500
    assert fs.reads["/proc"] == 1
    assert rest <= 2 * (500 // RECHECK_SCANS + 1)
    assert not any(path.endswith("/exe") for path in fs.reads)


@pytest.mark.parametrize("how", ["comm", "image", "start"])
def test_an_execve_or_a_reused_pid_is_noticed(fs: FakeFilesystem, how: str) -> None:
    add_process(fs, 5, "sh", exe="/bin/sh", cmdline="sh\0")
    table = ProcessTable(fs, Roots())
    for _ in range(3):
        scan(table, *ALL)
    comm = "work" if how == "comm" else "sh"
    image = 0x7777_0000_0000 if how == "image" else 0x5555_0000_0000
    start = 101 if how == "start" else 100
    add_process(fs, 5, comm, image=image, start=start, exe="/opt/sh", cmdline="sh\0-c\0")
    found = scan(table, *ALL)[5]
    assert (found.exe, found.cmdline, found.start_ticks) == ("/opt/sh", "sh -c", start)


def test_a_title_set_between_the_first_two_scans_is_seen(fs: FakeFilesystem) -> None:
    add_process(fs, 5, cmdline="nginx\0")
    table = ProcessTable(fs, Roots())
    scan(table, Field.CMDLINE)
    fs.files["/proc/5/cmdline"] = "nginx: worker\0"
    assert scan(table, Field.CMDLINE)[5].cmdline == "nginx: worker"


def test_a_late_change_is_seen_within_the_recheck_period(fs: FakeFilesystem) -> None:
    add_process(fs, 5, uid=0)
    table = ProcessTable(fs, Roots())
    for _ in range(RECHECK_SCANS):
        scan(table, Field.UID)
    add_process(fs, 5, uid=33)
    assert 33 in {scan(table, Field.UID)[5].uid for _ in range(RECHECK_SCANS)}


def test_a_move_to_another_cgroup_is_seen_at_once(fs: FakeFilesystem) -> None:
    add_process(fs, 5)
    table = ProcessTable(fs, Roots())
    for _ in range(3):
        scan(table, Field.CGROUP)
    fs.files["/proc/5/cgroup"] = "0::/new\n"
    assert scan(table, Field.CGROUP)[5].cgroup == "/new"


@pytest.mark.parametrize("answer", [errno.ENOENT, errno.ESRCH])
@pytest.mark.parametrize("name", ["stat", "cmdline", "status", "cgroup"])
def test_vanishing_at_any_point_is_normal(fs: FakeFilesystem, name: str, answer: int) -> None:
    add_process(fs, 5)
    add_process(fs, 6)
    fs.files[f"/proc/5/{name}"] = answer
    assert 6 in scan(ProcessTable(fs, Roots()), *ALL)


def test_what_may_not_be_seen_is_empty(fs: FakeFilesystem) -> None:
    add_process(fs, 5, exe=errno.EACCES)
    fs.files["/proc/5/cmdline"] = errno.EPERM
    found = scan(ProcessTable(fs, Roots()), Field.EXE, Field.CMDLINE)[5]
    assert (found.exe, found.cmdline) == ("", "")


def test_an_executable_that_could_be_read_later_is_tried_again(fs: FakeFilesystem) -> None:
    add_process(fs, 5, exe=errno.EACCES)
    table = ProcessTable(fs, Roots())
    scan(table, Field.EXE)
    fs.links["/proc/5/exe"] = "/usr/bin/work"
    assert scan(table, Field.EXE)[5].exe == "/usr/bin/work"


def test_a_missing_proc_is_an_error_with_a_hint() -> None:
    with pytest.raises(HostError, match="cannot be listed") as caught:
        ProcessTable(FakeFilesystem(), Roots(proc="/nowhere")).scan()
    assert caught.value.path == "/nowhere"


def test_our_own_pid_is_the_one_of_that_proc(fs: FakeFilesystem, tmp_path: Path) -> None:
    assert read_own_pid(RealFilesystem(), Roots()) == os.getpid()
    fs.links["/proc/self"] = "4321"
    assert read_own_pid(fs, Roots()) == 4321
    assert read_own_pid(RealFilesystem(), Roots(proc=str(tmp_path))) == 0


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, "find me"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    yield child
    child.kill()
    child.wait()
    child.stdout.close()
    assert child.stdin is not None
    child.stdin.close()


def test_a_real_process_is_found_with_all_its_facts(sleeper: subprocess.Popen[bytes]) -> None:
    found = scan(ProcessTable(RealFilesystem(), Roots()), *ALL)[sleeper.pid]
    assert found.exe == os.path.realpath(sys.executable)
    assert found.cmdline.endswith("find me")
    assert found.uid == os.geteuid()
    assert found.start_ticks > 0
    assert not found.kernel_thread


def test_a_real_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    table = ProcessTable(RealFilesystem(), Roots())
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    stat = read_stat(RealFilesystem(), Roots(), sleeper.pid)
    assert stat is not None
    assert stat.state == "Z"
    assert table.scan(pids=(sleeper.pid,)) == ()


def test_a_real_execve_to_the_same_name_is_noticed(tmp_path: Path) -> None:
    """Same pid, start time and name, another program: only the image tells."""
    copy = tmp_path / "bash"
    copy.write_bytes(Path("/bin/bash").read_bytes())
    copy.chmod(0o755)
    child = subprocess.Popen(
        ["/bin/bash", "-c", 'read x; exec "$0" -c "read x < /dev/zero"', str(copy)],
        stdin=subprocess.PIPE,
    )
    table = ProcessTable(RealFilesystem(), Roots())
    try:
        before = _until(table, child.pid, "/bin/bash")
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.close()
        after = _until(table, child.pid, str(copy))
        assert (after.comm, after.start_ticks) == (before.comm, before.start_ticks)
    finally:
        child.kill()
        child.wait()


def _until(table: ProcessTable, pid: int, exe: str) -> Process:
    for _ in range(200):
        for process in table.scan(frozenset({Field.EXE}), (pid,)):
            if process.exe.endswith(exe):
                return process
        time.sleep(0.01)
    raise AssertionError(f"process {pid} never became {exe}")
