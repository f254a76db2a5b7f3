"""Children of tests: a few lines of Python with memory that tests know."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement

_HEAD = """
import ctypes, mmap, os, signal, sys, time
libc = ctypes.CDLL(None)
libc.prctl(1, 9)
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
SHARED = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
def area(size, flags=PRIVATE, huge=False):
    m = mmap.mmap(-1, size + (2 << 20), flags=flags)
    m.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    a = ctypes.addressof(ctypes.c_char.from_buffer(m))
    return m, -a % (2 << 20), a + -a % (2 << 20)
def touch(m, start, size):
    for at in range(start, start + size, 4096):
        m[at] = 1
def drain():
    touch(*area(1 << 18)[:2], 1 << 18)
def say(*words):
    print(*words, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Child:
    """A running child; what it says are numbers."""

    process: subprocess.Popen[str]
    placement: Placement

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> list[int]:
        return [int(word) for word in _pipe(self.process.stdout).readline().split()]

    def tell(self) -> None:
        """Let it go on behind `input()`."""
        pipe = _pipe(self.process.stdin)
        pipe.write("\n")
        pipe.flush()


@contextmanager
def running(body: str) -> Iterator[Child]:
    """Run these lines behind `_HEAD`; the child then waits for its end."""
    program = f"{_HEAD}\n{body}\ntime.sleep(60)\n"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        stat = read_stat(RealFilesystem(), Roots(), process.pid)
        assert stat is not None
        yield Child(process, Placement(process.pid, stat.start_ticks))
    finally:
        process.kill()
        process.wait()
        _pipe(process.stdin).close()
        _pipe(process.stdout).close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
