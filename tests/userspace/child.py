"""A process of ours with a hot and a cold mapping, which does as it is told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement

MIB = 1 << 20
PROJECT = Path(__file__).parents[2]

# DONTFORK and DONTDUMP keep the two from being merged into one mapping.
PROGRAM = """
import ctypes, mmap, os, sys, threading, time
from tests.tlb import forget_translations
size, huge, user = int(sys.argv[1]), sys.argv[2] == "huge", int(sys.argv[3])
if user:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: its files in proc are its own again
def make(mark):
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    area.madvise(mark)
    area[::4096] = b"x" * (size // 4096)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    return area, start
def touch():
    forget_translations()  # or what is still in the TLB is not marked as accessed
    hot[::4096]
def keep_touching():
    while True:
        touch()
        time.sleep(0.01)
hot, hot_start = make(mmap.MADV_DONTFORK)
cold, cold_start = make(mmap.MADV_DONTDUMP)
print(hot_start, cold_start, flush=True)
more = []
for line in sys.stdin:
    word, *rest = line.split()
    if word == "hot":
        touch()
    elif word == "write":
        count = int(rest[0]) << 8
        hot[: count << 12 : 4096] = b"y" * count
    elif word == "keep":
        threading.Thread(target=keep_touching, daemon=True).start()
    elif word == "renew":
        for area in (hot, cold):
            area.madvise(mmap.MADV_DONTNEED)
            area[::4096] = b"x" * (size // 4096)
    elif word == "map":
        for i in range(int(rest[0])):
            more.append(mmap.mmap(-1, 4096, prot=3 if i % 2 else 1))
    elif word == "latency":
        worst, end = 0.0, time.monotonic() + float(rest[0])
        while time.monotonic() < end:
            began = time.perf_counter()
            mmap.mmap(-1, 4096)[0] = 1
            worst = max(worst, time.perf_counter() - began)
        print(worst, flush=True)
        continue
    elif word == "exec":
        sys.stdout.flush()
        os.execv("/bin/sleep", ["sleep", "60"])
    elif word == "exit":
        os._exit(0)
    print("done", flush=True)
"""


@dataclass(frozen=True, slots=True)
class Child:
    """A running child; `hot` and `cold` are (start, end)."""

    process: subprocess.Popen[str]
    placement: Placement
    hot: tuple[int, int]
    cold: tuple[int, int]

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, command: str) -> None:
        """Hand it a command without waiting: hot, write MIB, keep, renew, map N, exec, exit."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def do(self, command: str) -> str:
        """Have it carry out a command; its answer."""
        self.tell(command)
        return self.answer()

    def rest(self, seconds: float) -> None:
        """As of a `Specimen`."""
        time.sleep(seconds)
        self.do("hot")

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def placement_of(pid: int) -> Placement:
    stat = read_stat(RealFilesystem(), Roots(), pid)
    assert stat is not None
    return Placement(pid, stat.start_ticks)


@contextmanager
def child(size: int = 16 * MIB, *, huge: bool = False, user: int = 0) -> Iterator[Child]:
    """One with two mappings of `size` bytes each."""
    command = [sys.executable, "-c", PROGRAM, str(size), "huge" if huge else "small", str(user)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            hot, cold = map(int, process.stdout.readline().split())
            yield Child(process, placement_of(process.pid), (hot, hot + size), (cold, cold + size))
        finally:
            process.kill()
