"""Where the kernel maps all physical memory, found by trial and proved on pages of our own.

The base is random at every boot and not told. A candidate is taken only if, by it, the program
reads for every one of our pages the same frame number as our pagemap: a wrong one cannot.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from damos_agent.host import pagemap
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.pagemap import Pagemap
from damos_agent.host.physical import read_system_ram
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.userspace.pte import entry
from damos_agent.userspace.pte.reader import Reader

LOWEST: Final = {4: 0xFFFF_8880_0000_0000, 5: 0xFF11_0000_0000_0000}
"""The least base by levels of page tables (Documentation/arch/x86/x86_64/mm.rst)."""

_STEP: Final = 1 << 30  # KASLR's grain here
_PAGES: Final = 64
_TRIES: Final = 3  # a page of ours may be moved between the two readings


def find_direct_map(reader: Reader, fs: Filesystem, roots: Roots, levels: int) -> int:
    """Set the reader's direct map and return its base.

    `UnsupportedError` when none can be proved, `HostError` without CAP_SYS_ADMIN.
    """
    limit = max(item.end for item in read_system_ram(fs, roots))
    with own_pages() as addresses, Pagemap(os.getpid(), roots.proc) as own:
        for _ in range(_TRIES):
            frames = _frames(own, addresses)
            top = reader.top_table(own.fileno())
            for base in _candidates(top, limit, levels):
                reader.set_direct_map(base, limit)
                if _proves(reader, own.fileno(), addresses, frames):
                    return base
    raise UnsupportedError(
        "the direct map of physical memory cannot be found; is memory encrypted (SME, SEV)?",
        hint="use another probe",
    )


def _candidates(top: int, limit: int, levels: int) -> range:
    """Bases by which the top table lies in memory, the highest first."""
    highest = top // _STEP * _STEP
    lowest = max(LOWEST[levels], (top - limit) // _STEP * _STEP)
    return range(highest, lowest - 1, -_STEP)


def _proves(reader: Reader, own: int, addresses: list[int], frames: list[int]) -> bool:
    # One address first: most candidates fail, and a wrong one should read little.
    for number in (1, len(addresses)):
        found = reader.read(own, addresses[:number])
        pairs = zip(found, addresses, strict=False)
        if [entry.frame(item, address) for item, address in pairs] != frames[:number]:
            return False
        if not all(entry.is_young(item) for item in found):
            return False
    return True


def _frames(own: Pagemap, addresses: list[int]) -> list[int]:
    frames = [pagemap.frame(item) for item in own.entries(addresses)]
    if any(frame is None for frame in frames):
        raise UnsupportedError("our own pages are not in memory", hint="use another probe")
    if not any(frames):
        raise HostError(
            "page frame numbers are hidden",
            path="/proc/self/pagemap",
            hint="run as root, or with CAP_SYS_ADMIN",
        )
    return [frame or 0 for frame in frames]


@contextmanager
def own_pages() -> Iterator[list[int]]:
    """Addresses of fresh, touched pages of this process."""
    size = _PAGES * entry.PAGE_BYTES
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"\1" * size)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        yield list(range(start, start + size, entry.PAGE_BYTES))
