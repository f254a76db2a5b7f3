# SPDX-License-Identifier: Apache-2.0
"""The memory of a load: of one kind, resident, its parts in mappings of their own if wanted.

All of it is one mmap, in which what lies before, between and behind the parts is made PROT_NONE:
so nothing else gets there, nothing merges with the parts, and an index reaches all of them.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from tests.load import libc
from tests.load.layout import PAGE, Range

HUGE = 2 << 20
KINDS = ("anon", "thp", "shared", "private")
_GUARD = HUGE
# Compresses to about half, so that zram has something honest to do.
_PATTERN = (b"0123456789abcdef" * 128 + os.urandom(2048)) * (HUGE // PAGE)


@dataclass(frozen=True, slots=True)
class Spec:
    """`kind`: private anonymous in 4 KiB or huge pages, or a file mapped shared or private.

    `gap`: bytes between parts, rounded up to huge pages, 0 for one mapping; `hole`: gaps are not
    mapped at all, so anything may get there later. Without `path`, files are a memfd, that is
    shmem.
    """

    kind: str = "anon"
    gap: int = 0
    hole: bool = False
    mlock: bool = False
    path: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Offsets [start, end) of the layout begin at byte `index` of the mmap."""

    start: int
    end: int
    index: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Memory:
    """`address` is that of index 0 of `mapped`."""

    mapped: mmap.mmap
    address: int
    parts: tuple[Part, ...]

    def ranges(self) -> list[Range]:
        """The addresses of the parts."""
        return [(self.address + p.index, self.address + p.index + p.size) for p in self.parts]


def placed(pieces: list[Range], lead: int, gap: int) -> tuple[Part, ...]:
    """The parts one behind the other, the first at index `lead`."""
    gap += -gap % HUGE
    return tuple(Part(start, end, lead + start + n * gap) for n, (start, end) in enumerate(pieces))


def create(pieces: list[Range], spec: Spec) -> Memory:
    """Map it, advise, protect what lies between, and make every page resident."""
    pieces = pieces if spec.gap else [(pieces[0][0], pieces[-1][1])]
    end = placed(pieces, 2 * _GUARD, spec.gap)[-1]
    mapped = _map(end.index + end.size + 2 * _GUARD, spec)
    address = libc.address_of(mapped)
    memory = Memory(mapped, address, placed(pieces, _GUARD + -(address + _GUARD) % HUGE, spec.gap))
    _advise(memory, spec.kind)
    _guard(memory, spec.hole)
    for part in memory.parts:
        _fill(mapped, part, spec.kind)
    if spec.mlock:
        for start, stop in memory.ranges():
            libc.lock(start, stop - start)
    return memory


def _map(size: int, spec: Spec) -> mmap.mmap:
    if spec.kind in ("anon", "thp"):
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    descriptor = _open(spec.path)
    size += -size % HUGE
    if os.fstat(descriptor).st_size < size:
        os.ftruncate(descriptor, size)
    if spec.kind == "private":
        _write(descriptor, size)
    flags = mmap.MAP_PRIVATE if spec.kind == "private" else mmap.MAP_SHARED
    mapped = mmap.mmap(descriptor, size, flags=flags)
    os.close(descriptor)
    return mapped


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600) if path else os.memfd_create("load")


def _write(descriptor: int, size: int) -> None:
    for offset in range(0, size, HUGE):
        os.pwrite(descriptor, _PATTERN, offset)


def _advise(memory: Memory, kind: str) -> None:
    if kind in ("anon", "thp"):
        memory.mapped.madvise(mmap.MADV_HUGEPAGE if kind == "thp" else mmap.MADV_NOHUGEPAGE)


def _guard(memory: Memory, hole: bool) -> None:
    ends = [0, *(part.index + part.size for part in memory.parts)]
    starts = [*(part.index for part in memory.parts), len(memory.mapped)]
    for n, (start, end) in enumerate(zip(ends, starts, strict=True)):
        if end == start:
            continue
        if hole and 0 < n < len(memory.parts):
            libc.unmap(memory.address + start, end - start)
        else:
            libc.protect(memory.address + start, end - start, libc.PROT_NONE)


def _fill(mapped: mmap.mmap, part: Part, kind: str) -> None:
    """Writing would turn private pages of a file into anonymous ones; those are read."""
    for at in range(part.index, part.index + part.size, HUGE):
        size = min(HUGE, part.index + part.size - at)
        if kind == "private":
            mapped[at : at + size : PAGE]
        else:
            mapped[at : at + size] = _PATTERN[:size]
