# SPDX-License-Identifier: Apache-2.0
"""A workload of patterns.py as a process: `python -m tests.bench.outcomes.load NAME SECONDS GROUP`.

Its work is fixed: so many steps, in each of which the same memory is touched. A step is due fifty
times a second, and a late one is made up for, never left out. How long the steps took is told.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from dataclasses import dataclass

from tests.bench.outcomes import protocol
from tests.bench.outcomes.patterns import PATTERNS, Pattern, Piece
from tests.tlb import forget_translations

MIB = 1 << 20
_PAGE = 4096
_WRITE_STEPS = 25
"""Between steps that write."""
DIRECTORY = "/mnt/bench"
"""Where files lie: on a block device, so that their pages are cache as anywhere."""


@dataclass(slots=True)
class Memory:
    """The areas of a pattern, and how much of each has been filled."""

    areas: dict[str, mmap.mmap]
    filled: dict[str, int]

    def fill(self, area: str, up_to: int) -> None:
        """That many MiB exist."""
        mapped = self.areas[area]
        for number in range(self.filled[area], up_to):
            mapped[number * MIB : (number + 1) * MIB] = _content(number)
        self.filled[area] = max(self.filled[area], up_to)

    def touch(self, piece: Piece, stride: int, *, write: bool) -> None:
        """Read from every page, and maybe write to it."""
        self.fill(piece.area, piece.end)
        mapped = self.areas[piece.area]
        start, end = piece.start * MIB, piece.end * MIB
        _ = mapped[start:end:stride]
        if write:
            mapped[start:end:_PAGE] = bytes((end - start) // _PAGE)


_TEXT = b"0123456789abcdef" * 128
_NOISE = os.urandom(MIB)


def _content(number: int) -> bytes:
    """Compresses to about half, so that zram has something honest to do; no two pages alike."""
    first = number * MIB // _PAGE
    offsets = (page * 1009 % (MIB - 2048) for page in range(first, first + MIB // _PAGE))
    return b"".join(_TEXT + _NOISE[at : at + 2048] for at in offsets)


def allocate(pattern: Pattern) -> Memory:
    areas = {}
    for name, size in pattern.areas.items():
        if name in pattern.files:
            areas[name] = _file(name, size * MIB)
        else:
            areas[name] = mmap.mmap(-1, size * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory = Memory(areas, dict.fromkeys(areas, 0))
    for name, size in pattern.areas.items():
        memory.fill(name, pattern.filled.get(name, size))
        if name in pattern.files:
            areas[name].flush()
    return memory


def _file(name: str, size: int) -> mmap.mmap:
    descriptor = os.open(f"{DIRECTORY}/{name}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(descriptor, size)
        return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED)
    finally:
        os.close(descriptor)


def address(mapped: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def main() -> None:
    name, seconds, group = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    protocol.enter(group, os.getpid())
    pattern = PATTERNS[name]
    memory = allocate(pattern)

    def step(number: int) -> None:
        for piece in pattern.touched(number * pattern.step_s, seconds):
            write = piece.area not in pattern.files and number % _WRITE_STEPS == 0
            memory.touch(piece, pattern.stride, write=write)
        forget_translations()

    # Both caches and translations are as in the run when it begins.
    step(0)
    protocol.ready(os.getpid())
    steps = pattern.steps or round(seconds / pattern.step_s)
    took = protocol.run(step, steps, 0.0 if pattern.steps else pattern.step_s)
    cold = [
        (base + piece.start * MIB, base + piece.end * MIB)
        for piece in pattern.cold
        for base in (address(memory.areas[piece.area]),)
    ]
    protocol.done(took, cold, sum(end - start for start, end in cold))


if __name__ == "__main__":
    main()
