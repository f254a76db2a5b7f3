"""Probe `writes`: which memory was written, by soft-dirty bits. Never evidence of idleness.

Linux: Documentation/admin-guide/mm/soft-dirty.rst. Clearing write-protects all memory, under the
mmap lock, so that each page's next write faults; accessed bits stay as they are. CRIU and others
who use the same bits would be disturbed, and would disturb us.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Final

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.pagescan import Page, scan_bytes
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import DamosError, UnsupportedError
from damos_agent.userspace.mapping import VmaSampler
from damos_agent.userspace.probe import Granularity, MappingUse, ProbeInfo

WRITES: Final = ProbeInfo(
    name="writes",
    granularity=Granularity.MAPPING,
    sees="w",
    limits=(
        "sees writes only, at the price of a fault for each page written again: what it calls idle "
        "may be read all the time, so that only action stat is served; disturbs and is disturbed "
        "by who else uses soft-dirty bits (CRIU); stops the process from changing its mappings "
        "for 15 ms per GiB of 4K pages each round"
    ),
    experimental=True,
)

# Two pages, both written before they are told of; the first once more when a line comes.
_CHILD: Final = """
import ctypes, mmap, sys
size = mmap.PAGESIZE
area = mmap.mmap(-1, 2 * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area[0] = area[size] = 1
print(ctypes.addressof(ctypes.c_char.from_buffer(area)), size, flush=True)
sys.stdin.readline()
area[0] = 2
print(flush=True)
sys.stdin.readline()
"""


class WrittenSampler(VmaSampler):
    """A `MappingSampler` whose `referenced` bytes are in pages that were written since `clear`.

    What was mapped since counts where it was written. `foreign_clears` counts readings that found
    writes forgotten with no `clear` in between: somebody else, such as CRIU, uses the same bits.
    """

    forgetting = "4"

    def written_bytes(self, start: int, end: int) -> int:
        """In pages in memory between two addresses.

        `UnsupportedError` where the kernel cannot be asked (before 6.7).
        """
        found = scan_bytes(self._image.pagemap, start, end, Page.SOFT_DIRTY | Page.PRESENT)
        if found is None:
            raise UnsupportedError(
                "this kernel does not tell which pages are soft-dirty", hint="needs Linux 6.7"
            )
        return found

    def _uses(self, smaps: bytes) -> tuple[MappingUse, ...]:
        found = tuple(self._written(use) for use in super()._uses(smaps))
        self._image.check()  # nothing is found in the memory of who has gone
        return found

    def _written(self, use: MappingUse) -> MappingUse:
        # The process went on between the two readings: never more than what was in memory.
        written = min(self.written_bytes(use.start, use.end), use.rss) if use.rss else 0
        return replace(use, referenced=written)


class WritesProbe:
    """A `MappingProbe` that sees writes only; proved by `decline_writes`."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    @property
    def info(self) -> ProbeInfo:
        """What it is."""
        return WRITES

    def open(self, process: Placement) -> WrittenSampler:
        """A sampler of that process. Raises as `VmaProbe.open`."""
        return WrittenSampler(self._roots, process)

    def close(self) -> None:
        """Nothing is shared."""


def decline_writes(roots: Roots) -> str:
    """Why writes cannot be told here, by trying it on a child of ours; empty if they can."""
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as child:
        try:
            return _try_on(roots, child)
        except (DamosError, ProcessLookupError) as error:
            return str(error)
        finally:
            child.kill()


def _try_on(roots: Roots, child: subprocess.Popen[bytes]) -> str:
    stat = read_stat(RealFilesystem(), roots, child.pid)
    if child.stdout is None or child.stdin is None or stat is None:
        return "the child of the self-test did not start"
    words = child.stdout.readline().split()
    if len(words) != 2:
        return "the child of the self-test did not answer"
    start, size = map(int, words)
    sampler = WrittenSampler(roots, Placement(child.pid, stat.start_ticks))
    try:
        sampler.clear()
        child.stdin.write(b"\n")
        child.stdout.readline()
        found = sampler.written_bytes(start, start + size)
        other = sampler.written_bytes(start + size, start + 2 * size)
    finally:
        sampler.close()
    if (found, other) == (size, 0):
        return ""
    return "written pages are not told from others (kernel without CONFIG_MEM_SOFT_DIRTY?)"
