"""Real processes with known hot and cold memory, and swap space of our own, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from damos_agent.algo.region import Region
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.madvise import Advice, Advised, advise
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.actor import ProcessActor
from damos_agent.userspace.canary import CanaryGate
from damos_agent.userspace.canary_book import CanaryBook
from damos_agent.userspace.canary_state import CanaryLimits
from damos_agent.userspace.effect import PagemapReader, Residency
from damos_agent.userspace.handle import Effects

ZRAM = Path("/sys/class/zram-control")
LIMITS = CanaryLimits(wait_us=300_000)
LONG_US = 20_000_000

CHILD = """
import ctypes, json, mmap, os, sys, threading, time
MIB, PAGE = 1 << 20, 4096
size, hot_start, hot_end, flags = (*map(int, sys.argv[1:4]), sys.argv[4])
kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (0x40000 if "tlb" in flags else 0)
raw = mmap.mmap(-1, size + 4 * MIB, kind)
base = ctypes.addressof(ctypes.c_char.from_buffer(raw))
skip = -base % (2 * MIB)
start = base + skip
if "tlb" not in flags:
    raw.madvise(14 if "huge" in flags else 15)
block = os.urandom(PAGE // 2) + bytes(PAGE // 2)
for at in range(skip, skip + size, PAGE):
    raw[at:at + PAGE] = block
if "late" in flags:
    raw.madvise(14)
if "lock" in flags:
    assert ctypes.CDLL(None).mlock(ctypes.c_void_p(start), ctypes.c_size_t(size)) == 0
worst = [0.0]
def use():
    while True:
        for at in range(skip + hot_start, skip + hot_end, PAGE):
            raw[at]
        time.sleep(0.02)
def map_and_unmap():
    while True:
        begin = time.perf_counter()
        m = mmap.mmap(-1, PAGE); m[0] = 1; m.close()
        worst[0] = max(worst[0], time.perf_counter() - begin)
        time.sleep(0.001)
if hot_end > hot_start:
    threading.Thread(target=use, daemon=True).start()
if "map" in flags:
    threading.Thread(target=map_and_unmap, daemon=True).start()
print(start, flush=True)
for line in sys.stdin:
    if line == "worst\\n":
        print(int(worst[0] * 1e6), flush=True)
        worst[0] = 0.0
    if line == "exec\\n":
        new = "import time; print('new', flush=True); time.sleep(60)"
        os.execv(sys.executable, [sys.executable, "-c", new])
"""


@dataclass
class Child:
    """`size` bytes at `start`, of which those in [hot_start, hot_end) are read all the time."""

    process: subprocess.Popen[str]
    start: int
    placement: Placement

    def ask(self, word: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()


def start_child(size: int, hot: tuple[int, int] = (0, 0), flags: str = "-") -> Child:
    command = [sys.executable, "-c", CHILD, str(size), str(hot[0]), str(hot[1]), flags]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    stat = read_stat(RealFilesystem(), Roots(), process.pid)
    if stat is None or not line.strip():
        process.kill()
        process.communicate()
        raise RuntimeError("the child did not start")
    return Child(process, int(line), Placement(process.pid, stat.start_ticks))


def swaps() -> list[str]:
    return [line.split()[0] for line in Path("/proc/swaps").read_text().splitlines()[1:]]


def missing_for_swap() -> str:
    """Why no swap device can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "making swap space takes root"
    if not (ZRAM / "hot_add").exists():
        return "this kernel has no zram"
    return ""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def zram_swap(size: int) -> Iterator[str]:
    """A compressed swap device of ours alone, gone afterwards."""
    number = (ZRAM / "hot_add").read_text().strip()
    device = f"/dev/zram{number}"
    made = not Path(device).exists()
    try:
        if made:
            major, minor = Path(f"/sys/block/zram{number}/dev").read_text().strip().split(":")
            os.mknod(device, 0o600 | 0o060000, os.makedev(int(major), int(minor)))
        Path(f"/sys/block/zram{number}/disksize").write_text(str(size))
        _run("mkswap", device)
        _run("swapon", device)
        try:
            yield device
        finally:
            _run("swapoff", device)
    finally:
        Path(f"/sys/block/zram{number}/reset").write_text("1")
        (ZRAM / "hot_remove").write_text(number)
        if made and Path(device).exists():
            Path(device).unlink()


def mib(count: float) -> int:
    return int(count * (1 << 20))


def actor_of(
    *actions: str,
    advise_by: Callable[[int, Advice, Sequence[AddressRange]], Advised] = advise,
) -> ProcessActor:
    effects = Effects(RealFilesystem(), Roots(), advise=advise_by)
    gate = CanaryGate(CanaryBook(LIMITS), Random(1))
    schemes = [SchemeSpec(action, target_nid=0) for action in actions or ("pageout",)]
    return ProcessActor(schemes, effects, gate, update_us=1_000_000)


def residency(child: Child, start: int, end: int) -> Residency:
    reader = PagemapReader(child.placement.pid)
    try:
        return reader.count(child.start + start, child.start + end)
    finally:
        reader.close()


def region(child: Child, start: int, end: int) -> Region:
    return Region(child.start + start, child.start + end)


def rounds(actor: ProcessActor, child: Child, where: Region, most: int = 20) -> list[int]:
    """Apply until the region is done with; bytes applied, by round."""
    found = []
    for _ in range(most):
        actor.begin_round(LONG_US)
        applied = actor.apply(0, child.placement, where)
        found.append(applied.applied)
        if applied.touched:
            break
        time.sleep(0.31)
    return found
