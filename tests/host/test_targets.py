"""From targets to processes, through one look at the machine."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from damos_agent.host.cgroup import read_hierarchy
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.host.targets import Selection, TargetReader
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.model.policy import (
    CgroupTarget,
    ContainerTarget,
    PhysicalTarget,
    PidTarget,
    ProcessTarget,
    Target,
    UnitTarget,
)
from tests.host.fakes import FakeFilesystem, add_process

CG = "/sys/fs/cgroup"
ID = "ab12" * 16


@pytest.fixture
def fs() -> FakeFilesystem:
    """A nginx with two workers in a unit, a container with one process, and the agent."""
    fs = FakeFilesystem({"/proc/meminfo": ""})
    add_process(fs, 2, "kthreadd", kernel_thread=True, start=0)
    add_process(fs, 10, "nginx", exe="/usr/sbin/nginx", cmdline="nginx: master\0", uid=0, start=5)
    for pid in (11, 12):
        add_process(
            fs, pid, "nginx", exe="/usr/sbin/nginx", cmdline="nginx: worker\0", uid=33, start=pid
        )
    add_process(fs, 20, "redis", exe="/usr/bin/redis", cmdline="redis\0", uid=99, start=50)
    add_process(fs, 77, "damos-agent", exe="/usr/sbin/nginx", cmdline="nginx: agent\0", start=1)
    fs.links["/proc/self"] = "77"
    fs.files[f"{CG}/cgroup.controllers"] = "memory"
    fs.files[f"{CG}/system.slice/cgroup.procs"] = ""
    fs.files[f"{CG}/system.slice/nginx.service/cgroup.procs"] = "10\n11\n12\n77\n"
    fs.files[f"{CG}/system.slice/docker-{ID}.scope/cgroup.procs"] = "20\n"
    return fs


def reader(fs: FakeFilesystem) -> TargetReader:
    return TargetReader(fs, Roots(), find_uid={"www-data": 33}.get)


def pids(selection: Selection) -> list[int]:
    return [process.pid for process in selection.processes]


def test_every_kind_of_target_is_resolved_in_one_look(fs: FakeFilesystem) -> None:
    targets: dict[str, Target] = {
        "pid": PidTarget((12, 10)),
        "exe": ProcessTarget(exe="nginx"),
        "worker": ProcessTarget(cmdline="worker$", user="www-data"),
        "cgroup": CgroupTarget("/system.slice"),
        "flat": CgroupTarget("/system.slice/nginx.service", descendants=False),
        "unit": UnitTarget("nginx"),
        "container": ContainerTarget("ab12"),
        "again": ContainerTarget("ab12"),
        "memory": PhysicalTarget(),
    }
    found = reader(fs).select(targets)
    assert {name: pids(selection) for name, selection in found.items()} == {
        "pid": [10, 12],
        "exe": [10, 11, 12],
        "worker": [11, 12],
        "cgroup": [10, 11, 12, 20],
        "flat": [10, 11, 12],
        "unit": [10, 11, 12],
        "container": [20],
        "again": [20],
        "memory": [],
    }
    assert {selection.reason for selection in found.values()} == {""}
    assert found["container"].processes == (Placement(20, 50),)
    assert max(n for path, n in fs.reads.items() if path.startswith("/proc/")) == 1


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (ProcessTarget(exe="foo"), "no process matches exe=foo"),
        (ProcessTarget(user="nobody-here"), "no user nobody-here on this machine"),
        (CgroupTarget("/x"), "cgroup /x does not exist"),
        (CgroupTarget("/system.slice", descendants=False), "cgroup /system.slice has no process"),
        (UnitTarget("x.service"), "systemd unit x.service is not running"),
        (ContainerTarget("ff"), "no running container has an id that starts with ff"),
        (PidTarget((99,)), "no process 99"),
        (PidTarget((2,)), "process 2 (kthreadd) is a kernel thread"),
        (ProcessTarget(cmdline="("), "cmdline=(: not a regular expression: "),
    ],
)
def test_nothing_found_has_its_reason(fs: FakeFilesystem, target: Target, reason: str) -> None:
    found = reader(fs).select({"p": target})["p"]
    assert found.processes == ()
    assert found.reason.startswith(reason)


def test_one_policys_trouble_is_not_anothers(fs: FakeFilesystem) -> None:
    fs.files[f"{CG}/docker/{'ab' + 'f' * 62}/cgroup.procs"] = ""
    found = reader(fs).select({"bad": ContainerTarget("ab"), "good": UnitTarget("nginx")})
    assert "ambiguous" in found["bad"].reason
    assert pids(found["good"]) == [10, 11, 12]


def test_without_cgroup_v2_only_what_needs_it_is_without_processes(fs: FakeFilesystem) -> None:
    fs.remove(CG)
    found = reader(fs).select({"unit": UnitTarget("nginx"), "pid": PidTarget((10,))})
    assert "no cgroup v2 hierarchy" in found["unit"].reason
    assert pids(found["pid"]) == [10]


def test_processes_are_followed_as_they_come_and_go(fs: FakeFilesystem) -> None:
    look, target = reader(fs), {"p": ProcessTarget(exe="nginx")}
    assert pids(look.select(target)["p"]) == [10, 11, 12]
    fs.remove("/proc/11")
    add_process(fs, 13, "nginx", exe="/usr/sbin/nginx", start=60)
    assert pids(look.select(target)["p"]) == [10, 12, 13]
    for pid in (10, 12, 13):
        fs.remove(f"/proc/{pid}")
    assert look.select(target)["p"] == Selection((), "no process matches exe=nginx")


def test_a_pid_target_does_not_pass_to_the_next_owner_of_the_pid(fs: FakeFilesystem) -> None:
    look, target = reader(fs), {"p": PidTarget((20,))}
    assert pids(look.select(target)["p"]) == [20]
    add_process(fs, 20, "thief", start=900)
    assert "now is another's" in look.select(target)["p"].reason
    assert "now is another's" in look.select(target)["p"].reason
    assert look.select({}) == {}
    assert look.select(target)["p"].processes == (Placement(20, 900),)


def test_a_restarted_agent_knows_pids_from_before(fs: FakeFilesystem) -> None:
    before = {"p": (Placement(20, 49), Placement(10, 5))}
    found = reader(fs).select({"p": PidTarget((20, 10))}, before)["p"]
    assert found.processes == (Placement(10, 5),)


def test_without_process_targets_only_named_processes_are_read(fs: FakeFilesystem) -> None:
    reader(fs).select({"a": PidTarget((10,)), "b": ContainerTarget("ab12")})
    touched = {p.split("/")[2] for p in fs.reads if p.startswith("/proc/")}
    assert touched == {"10", "20", "self"}
    assert not fs.reads["/proc"]


def test_physical_memory_alone_reads_no_process(fs: FakeFilesystem) -> None:
    reader(fs).select({"p": PhysicalTarget()})
    assert set(fs.reads) <= {"/proc/self"}


def test_a_found_unit_is_not_searched_again_until_it_has_gone(fs: FakeFilesystem) -> None:
    look, target = reader(fs), {"p": UnitTarget("nginx")}
    look.select(target)
    fs.reads.clear()
    look.select(target)
    assert not fs.reads[f"{CG}/system.slice"]
    fs.remove(f"{CG}/system.slice/nginx.service")
    assert look.select(target)["p"].reason == "systemd unit nginx is not running"
    fs.files[f"{CG}/other.slice/nginx.service/cgroup.procs"] = "11\n"
    assert pids(look.select(target)["p"]) == [11]


@pytest.mark.parametrize("path", ["/proc/10/stat", f"{CG}/system.slice/nginx.service/cgroup.procs"])
def test_a_passing_failure_is_an_error_not_an_empty_target(fs: FakeFilesystem, path: str) -> None:
    """Out of descriptors, nobody is known to have gone: the caller must keep what it has."""
    fs.files[path] = errno.EMFILE
    with pytest.raises(HostError) as caught:
        reader(fs).select({"p": UnitTarget("nginx")})
    assert caught.value.errno == errno.EMFILE


def test_a_costly_expression_is_told_of(fs: FakeFilesystem) -> None:
    add_process(fs, 30, cmdline="a" * 60 + "!\0")
    found = reader(fs).select({"p": ProcessTarget(cmdline="(a+)+$")})["p"]
    assert found.processes == ()
    assert "too slow on 1 command lines" in found.reason


def test_a_user_is_looked_up_once_it_was_found(fs: FakeFilesystem) -> None:
    asked: list[str] = []

    def find(user: str) -> int | None:
        asked.append(user)
        return 33 if len(asked) > 1 else None

    look, target = TargetReader(fs, Roots(), find_uid=find), {"p": ProcessTarget(user="web")}
    assert [pids(look.select(target)["p"]) for _ in range(4)] == [[], [11, 12], [11, 12], [11, 12]]
    assert asked == ["web", "web"]


@pytest.fixture
def children() -> Iterator[list[int]]:
    """Three real processes that differ in their last argument."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    with ExitStack() as stack:
        pids = []
        for number in range(3):
            child = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code, f"live-target-{os.getpid()}-{number}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(child.kill)
            assert child.stdout is not None
            child.stdout.readline()
            pids.append(child.pid)
        yield pids


def test_real_processes_are_selected(children: list[int]) -> None:
    look = TargetReader(RealFilesystem(), Roots())
    exe = os.path.realpath(sys.executable)
    words = f"live-target-{os.getpid()}"
    found = look.select(
        {
            "all": ProcessTarget(exe=exe, cmdline=f"{words}-[0-9]$", user=str(os.geteuid())),
            "one": ProcessTarget(cmdline=f"{words}-1$"),
            "pid": PidTarget((children[2],)),
            "me": PidTarget((os.getpid(),)),
            "not me": ProcessTarget(exe=exe),
        }
    )
    assert sorted(pids(found["all"])) == sorted(children)
    assert pids(found["one"]) == [children[1]]
    assert pids(found["pid"]) == [children[2]]
    assert pids(found["me"]) == [os.getpid()]
    assert os.getpid() not in pids(found["not me"])


def test_processes_of_a_real_cgroup_are_selected(children: list[int]) -> None:
    try:
        root = Path(read_hierarchy(RealFilesystem(), Roots()))
        group = root / f"damos-agent-targets-{os.getpid()}"
        group.mkdir()
    except (HostError, OSError) as error:
        pytest.skip(f"needs a cgroup v2 hierarchy to write to: {error}")
    look, target = TargetReader(RealFilesystem(), Roots()), {"p": CgroupTarget(f"/{group.name}")}
    try:
        assert look.select(target)["p"].reason == f"cgroup /{group.name} has no process"
        (group / "cgroup.procs").write_text(str(children[0]))
        assert pids(look.select(target)["p"]) == [children[0]]
        (root / "cgroup.procs").write_text(str(children[0]))
    finally:
        group.rmdir()
    assert look.select(target)["p"].reason == f"cgroup /{group.name} does not exist"
