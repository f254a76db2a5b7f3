"""Which memory was written, by soft-dirty bits: an annotation, and never evidence of idleness.

Linux: Documentation/admin-guide/mm/soft-dirty.rst. Clearing write-protects all memory, under the
mmap lock, so that each page's next write faults; accessed bits stay as they are. CRIU and others
who use the same bits would be disturbed, and would disturb us.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.image import ProcessImage
from damos_agent.host.maps import parse_maps
from damos_agent.host.pagescan import Page, scan_bytes
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import DamosError, UnsupportedError
from damos_agent.userspace.probe import Granularity, ProbeInfo

WRITES: Final = ProbeInfo(
    name="writes",
    granularity=Granularity.MAPPING,
    sees="w",
    limits="sees writes only, at the price of a fault for each page written again",
    experimental=True,
)
_CLEAR_SOFT_DIRTY: Final = "4"

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


@dataclass(frozen=True, slots=True)
class Written:
    """A mapping, and how many of its bytes are in pages written since `clear`."""

    start: int
    end: int
    written: int


class WrittenSampler:
    """Watches what one process writes; raises as a `MappingSampler`."""

    def __init__(self, roots: Roots, process: Placement) -> None:
        self._image = ProcessImage(roots, process)
        try:
            self._image.check_writable("clear_refs")
        except BaseException:
            self._image.close()
            raise

    def clear(self) -> None:
        """Forget past writes."""
        self._image.check()
        self._image.write("clear_refs", _CLEAR_SOFT_DIRTY)
        self._image.check()

    def read(self) -> tuple[Written, ...]:
        """Its mappings, ascending; what was mapped since counts where it was written.

        `UnsupportedError` where the kernel cannot be asked (before 6.7).
        """
        ranges = parse_maps(self._image.read("maps"))
        found = tuple(Written(r.start, r.end, self.written_bytes(r.start, r.end)) for r in ranges)
        self._image.check()
        return found

    def written_bytes(self, start: int, end: int) -> int:
        """Between two addresses. Errors as `read`."""
        found = scan_bytes(self._image.pagemap, start, end, Page.SOFT_DIRTY)
        if found is None:
            raise UnsupportedError(
                "this kernel does not tell which pages are soft-dirty", hint="needs Linux 6.7"
            )
        return found

    def close(self) -> None:
        """Give back descriptors; may be called again."""
        self._image.close()


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
