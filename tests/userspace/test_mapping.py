"""The vma probe on real processes: what it counts, and when it must give up."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.userspace.mapping import VmaProbe, VmaSampler
from damos_agent.userspace.probe import MappingProbe, MappingUse
from tests.userspace.child import MIB, Child, child, placement_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="watching others needs root")

CAP_DAC_READ_SEARCH = 2
CAP_SYS_PTRACE = 19


def sampler_of(target: Child) -> VmaSampler:
    return VmaProbe(Roots()).open(target.placement)


def use_of(uses: tuple[MappingUse, ...], area: tuple[int, int]) -> MappingUse:
    (found,) = [use for use in uses if (use.start, use.end) == area]
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("huge", [False, True])
def test_referenced_bytes_are_the_truth(huge: bool) -> None:
    with child(16 * MIB, huge=huge) as target:
        sampler = sampler_of(target)
        for touched in (True, False, True):
            sampler.clear()
            if touched:
                target.do("hot")
            uses = sampler.read()
            hot, cold = use_of(uses, target.hot), use_of(uses, target.cold)
            assert hot.rss == cold.rss == 16 * MIB
            assert (hot.referenced, cold.referenced) == (16 * MIB if touched else 0, 0)
            if huge:
                assert hot.huge >= 14 * MIB
        assert [use.start for use in uses] == sorted(use.start for use in uses)
        sampler.close()
        sampler.close()


def test_the_probe_keeps_its_protocol() -> None:
    probe: MappingProbe = VmaProbe(Roots())
    assert (probe.info.name, probe.info.sees) == ("vma", "rw")
    probe.close()


@pytest.mark.parametrize("call", [VmaSampler.clear, VmaSampler.read])
@pytest.mark.parametrize("command", ["exec", "exit"])
def test_after_exec_and_exit_nothing_is_told(
    command: str, call: Callable[[VmaSampler], object]
) -> None:
    with child(MIB) as target:
        sampler = sampler_of(target)
        sampler.clear()
        sampler.read()
        target.tell(command)
        _wait_until_changed(target, command)
        with pytest.raises(ProcessLookupError):
            call(sampler)
        if command == "exit":
            assert sampler.predicted_stall_us() == 0
            target.process.wait()
            with pytest.raises(ProcessLookupError):
                call(sampler)
        sampler.close()


def _wait_until_changed(target: Child, command: str) -> None:
    deadline = time.monotonic() + 10
    path = f"/proc/{target.pid}/comm"
    while time.monotonic() < deadline:
        if command == "exit":
            os.waitid(os.P_PID, target.pid, os.WEXITED | os.WNOWAIT)
            return
        with open(path) as file:
            if file.read() == "sleep\n":
                return
        time.sleep(0.01)
    raise AssertionError("the child went on")


@pytest.mark.parametrize("command", ["exec", "exit"])
@pytest.mark.parametrize("delay_ms", [0, 1, 3, 7])
def test_an_end_at_any_moment_is_a_lookup_error(command: str, delay_ms: int) -> None:
    with child(4 * MIB) as target:
        sampler = sampler_of(target)
        timer = threading.Timer(delay_ms / 1000, target.tell, (command,))
        timer.start()
        deadline = time.monotonic() + 10

        def watch() -> None:
            while time.monotonic() < deadline:
                sampler.clear()
                # Whatever is still told is the old program, whole.
                assert use_of(sampler.read(), target.hot).rss == 4 * MIB

        with pytest.raises(ProcessLookupError):
            watch()
        timer.join()
        sampler.close()


SPAWN = """
import os, sys
os.posix_spawn("/bin/sleep", ["sleep", "60"], {},
    file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])
sys.stdin.read()
"""


def test_an_exec_that_leaves_the_memory_to_another_is_seen(tmp_path: Path) -> None:
    """A child of vfork shares its parent's memory until exec; here it waits for a FIFO first."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-c", SPAWN, str(fifo)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as parent:
        pid = _child_of(parent.pid)
        sampler = VmaProbe(Roots()).open(placement_of(pid))
        assert sum(use.rss for use in sampler.read()) > MIB
        fifo.open("w").close()
        deadline = time.monotonic() + 10

        def watch() -> None:
            while time.monotonic() < deadline:
                sampler.read()

        with pytest.raises(ProcessLookupError):
            watch()
        assert parent.poll() is None
        sampler.close()
        os.kill(pid, signal.SIGKILL)
        parent.kill()


def _child_of(parent: int) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for name in filter(str.isdecimal, os.listdir("/proc")):
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                return int(name)
        time.sleep(0.01)
    raise AssertionError("no child came")


def test_another_process_of_the_same_pid_is_nobody() -> None:
    with child(MIB) as target:
        before = descriptors()
        with pytest.raises(ProcessLookupError):
            VmaProbe(Roots()).open(Placement(target.pid, target.placement.start_ticks + 1))
        assert descriptors() == before


@pytest.mark.parametrize("pid", [2, 4194304])
def test_kernel_threads_and_nobody_have_no_memory(pid: int) -> None:
    before = descriptors()
    with pytest.raises(ProcessLookupError):
        VmaProbe(Roots()).open(placement_of(pid) if pid == 2 else Placement(pid, 1))
    assert descriptors() == before


def test_thousands_of_mappings_are_told_one_by_one() -> None:
    with child(MIB) as target:
        sampler = sampler_of(target)
        before = len(sampler.read())
        target.do("map 2000")
        sampler.clear()
        uses = sampler.read()
        assert len(uses) >= before + 1990
        assert all(a.end <= b.start for a, b in itertools.pairwise(uses))
        sampler.close()


def test_a_clearing_by_somebody_else_is_counted() -> None:
    with child(16 * MIB) as target:
        sampler = sampler_of(target)
        sampler.clear()
        target.do("hot")
        sampler.read()
        sampler.read()
        assert sampler.foreign_clears == 0
        Path(f"/proc/{target.pid}/clear_refs").write_text("1")
        sampler.read()
        assert sampler.foreign_clears == 1
        target.do("hot")
        sampler.read()
        sampler.clear()
        sampler.read()
        assert sampler.foreign_clears == 1  # our own clearing is none
        sampler.close()


def test_samplers_give_back_their_descriptors() -> None:
    with child(MIB) as target:
        before = descriptors()
        for _ in range(20):
            sampler = sampler_of(target)
            sampler.clear()
            sampler.read()
            sampler.predicted_stall_us()
            sampler.close()
        assert descriptors() == before


@pytest.mark.parametrize("huge", [False, True])
def test_the_stall_goes_by_small_pages(huge: bool) -> None:
    with child(256 * MIB, huge=huge) as target:
        sampler = sampler_of(target)
        first = sampler.predicted_stall_us()
        sampler.clear()
        sampler.read()
        sampler.clear()
        sampler.read()
        later = sampler.predicted_stall_us()
        sampler.close()
    if huge:
        assert first < 2_000
        assert later < 4_000
    else:
        assert 7_000 < first < 9_000
        assert 7_000 < later < 80_000


def test_without_the_right_to_trace_the_capability_is_named() -> None:
    with child(MIB) as target:
        answer = _opened_as_nobody(target)
    assert answer.startswith(f"/proc/{target.pid}/smaps: ")
    assert "CAP_SYS_PTRACE" in answer


@pytest.mark.parametrize(
    ("capabilities", "name"),
    [
        (1 << CAP_SYS_PTRACE, "pagemap"),
        (1 << CAP_SYS_PTRACE | 1 << CAP_DAC_READ_SEARCH, "clear_refs"),
    ],
)
def test_without_ownership_that_right_is_not_enough(capabilities: int, name: str) -> None:
    with child(MIB) as target:
        answer = _opened_as_nobody(target, capabilities)
    assert answer.startswith(f"/proc/{target.pid}/{name}: ")
    assert "CAP_DAC_OVERRIDE" in answer


def _opened_as_nobody(target: Child, capabilities: int = 0) -> str:
    """What opening `target` says in a fork of ours that has lost its privileges."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _become_nobody(capabilities)
            sampler_of(target).close()
            os.write(writer, b"opened")
        except HostError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


PR_SET_KEEPCAPS = 8


def _become_nobody(capabilities: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    header = struct.pack("=Ii", 0x20080522, 0)
    assert libc.capset(header, struct.pack("=6I", capabilities, capabilities, 0, 0, 0, 0)) == 0


def test_ones_own_processes_need_no_privilege() -> None:
    with child(MIB, user=65534) as target:
        assert _opened_as_nobody(target) == "opened"
