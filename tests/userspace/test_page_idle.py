"""The idle page probe on files in place of the kernel's. They do what the test writes there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.folio import COMPOUND_TAIL, IDLE, LRU
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.userspace.page_idle import PageIdleProbe
from damos_agent.userspace.probe import PageSampler
from tests.userspace.frames import get, put, write_folio

PRESENT = 1 << 63
AT = 0x10_0000
FRAME = 2 * 512 + 70
TAKEN = LRU | IDLE


@dataclass(frozen=True, slots=True)
class Machine:
    """A /proc and /sys of files, with one process that really is there."""

    root: Path
    placement: Placement
    roots: Roots
    opened: ExitStack

    @property
    def bitmap(self) -> Path:
        return self.root / "sys/kernel/mm/page_idle/bitmap"

    @property
    def process(self) -> Path:
        return self.root / f"proc/{self.placement.pid}"

    def map(self, address: int, pfn: int | None, flags: int = TAKEN) -> None:
        entry = 0 if pfn is None else PRESENT | pfn
        put(self.process / "pagemap", address // 4096, entry)
        if pfn is not None and not get(self.root / "proc/kpageflags", pfn):
            put(self.root / "proc/kpageflags", pfn, flags)

    def close_probes(self) -> None:
        self.opened.close()

    def open(self) -> PageSampler:
        probe = PageIdleProbe(RealFilesystem(), self.roots)
        self.opened.callback(probe.close)
        sampler = probe.open(self.placement)
        self.opened.callback(sampler.close)
        return sampler


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    child = subprocess.Popen(["sleep", "60"])
    with ExitStack() as stack:
        stack.callback(child.wait)
        stack.callback(child.kill)
        stat = read_stat(RealFilesystem(), Roots(), child.pid)
        assert stat is not None
        roots = Roots(proc=str(tmp_path / "proc"), sysfs=str(tmp_path / "sys"))
        found = Machine(
            tmp_path,
            Placement(child.pid, stat.start_ticks),
            roots,
            stack.enter_context(ExitStack()),
        )
        found.process.mkdir(parents=True)
        found.bitmap.parent.mkdir(parents=True)
        (found.process / "stat").write_text(Path(f"/proc/{child.pid}/stat").read_text())
        sizes = {
            found.process / "pagemap": 8 << 10,
            found.root / "proc/kpageflags": 8 << 12,
            found.root / "proc/kpagecount": 8 << 12,
            found.bitmap: 1 << 9,
        }
        for path, size in sizes.items():
            path.write_bytes(bytes(size))
        yield found


def unmark(machine: Machine, pfn: int) -> None:
    """The kernel's own flag goes with the bit."""
    flags = machine.root / "proc/kpageflags"
    put(flags, pfn, get(flags, pfn) & ~IDLE)


def test_a_bit_that_stays_is_idle_and_one_that_goes_was_accessed(machine: Machine) -> None:
    machine.map(AT, FRAME)
    machine.map(AT + 4096, FRAME + 64)
    sampler = machine.open()
    sampler.arm([AT + 5, AT + 4096])
    assert get(machine.bitmap, FRAME // 64) == 1 << FRAME % 64  # this bit only
    put(machine.bitmap, FRAME // 64 + 1, 0)
    unmark(machine, FRAME + 64)
    assert sampler.check() == [False, True]
    sampler.close()


def test_a_page_in_a_large_folio_is_watched_at_its_head(machine: Machine) -> None:
    write_folio(machine.root / "proc", 1024, 9, TAKEN)
    machine.map(AT, FRAME)
    sampler = machine.open()
    sampler.arm([AT])
    assert get(machine.bitmap, 1024 // 64) == 1
    assert get(machine.bitmap, FRAME // 64) == 0
    assert sampler.check() == [False]
    put(machine.bitmap, 1024 // 64, 0)
    unmark(machine, 1024)
    assert sampler.check() == [True]


def test_after_a_split_the_head_tells_nothing(machine: Machine) -> None:
    write_folio(machine.root / "proc", 1024, 9, TAKEN)
    machine.map(AT, FRAME)
    sampler = machine.open()
    sampler.arm([AT])
    put(machine.root / "proc/kpageflags", FRAME, TAKEN & ~COMPOUND_TAIL)
    assert sampler.check() == [None]


def test_a_mark_that_is_not_taken_is_unknown(machine: Machine) -> None:
    machine.map(AT, FRAME, flags=0)
    sampler = machine.open()
    sampler.arm([AT])
    assert sampler.check() == [None]


def test_a_page_that_moved_is_unknown(machine: Machine) -> None:
    machine.map(AT, FRAME)
    sampler = machine.open()
    sampler.arm([AT])
    machine.map(AT, FRAME + 1)
    assert sampler.check() == [None]


def test_what_is_not_in_memory_was_not_accessed(machine: Machine) -> None:
    machine.map(AT, FRAME)
    sampler = machine.open()
    sampler.arm([AT, AT + 4096])
    machine.map(AT, None)
    assert sampler.check() == [False, False]


def test_what_was_brought_in_was_accessed(machine: Machine) -> None:
    sampler = machine.open()
    sampler.arm([AT])
    machine.map(AT, FRAME)
    assert sampler.check() == [True]


def test_hidden_frames_are_told_from_absent_ones(machine: Machine) -> None:
    machine.map(AT, 0)
    with pytest.raises(HostError, match="CAP_SYS_ADMIN"):
        machine.open().arm([AT])


def test_another_program_is_told(machine: Machine) -> None:
    sampler = machine.open()
    head, _, tail = (machine.process / "stat").read_text().rpartition(")")
    fields = tail.split()
    fields[23] = "1"  # where its code begins
    (machine.process / "stat").write_text(f"{head}) {' '.join(fields)}")
    with pytest.raises(ProcessLookupError):
        sampler.arm([AT])


def test_memory_without_a_process_is_told(machine: Machine) -> None:
    sampler = machine.open()
    sampler.arm([AT])
    (machine.process / "pagemap").write_bytes(b"")  # what an ended process's reads give
    with pytest.raises(ProcessLookupError):
        sampler.check()


def test_a_reused_pid_is_told(machine: Machine) -> None:
    probe = PageIdleProbe(RealFilesystem(), machine.roots)
    other = Placement(machine.placement.pid, machine.placement.start_ticks + 1)
    with pytest.raises(ProcessLookupError):
        probe.open(other)
    probe.close()


@pytest.mark.parametrize("missing", ["kpageflags", "kpagecount", "bitmap", "pagemap"])
def test_nothing_leaks_when_a_file_is_missing(machine: Machine, missing: str) -> None:
    next(machine.root.rglob(missing)).unlink()
    before = os.listdir("/proc/self/fd")
    with pytest.raises((HostError, UnsupportedError, ProcessLookupError)):
        machine.open()
    machine.close_probes()
    assert os.listdir("/proc/self/fd") == before


def test_a_kernel_without_it_is_unsupported(machine: Machine) -> None:
    machine.bitmap.unlink()
    with pytest.raises(UnsupportedError, match="IDLE_PAGE_TRACKING"):
        PageIdleProbe(RealFilesystem(), machine.roots)
