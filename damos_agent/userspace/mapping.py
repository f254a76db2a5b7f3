"""Probe `vma`: whole mappings, by clear_refs and smaps. Any kernel; nothing about hot spots inside.

Linux: Documentation/filesystems/proc.rst. Clearing costs 10 ms of our time per GiB of 4K pages and
reading 9 ms; huge pages are nearly free. The walk of clear_refs holds the process's mmap lock for
writing all the time, that of smaps for reading and for a few mappings at a time.
"""

from __future__ import annotations

from typing import Final

from damos_agent.host.image import ProcessImage
from damos_agent.host.roots import Roots
from damos_agent.host.smaps import parse_smaps
from damos_agent.model.damon import Placement
from damos_agent.userspace.foreign import is_foreign_clear
from damos_agent.userspace.probe import Granularity, MappingUse, ProbeInfo
from damos_agent.userspace.stall import StallEstimate, read_huge_bytes, read_resident_bytes
from damos_agent.userspace.untouchable import is_virtual_machine, untouchable

__all__ = ["VMA", "VmaProbe", "VmaSampler", "is_virtual_machine", "untouchable"]

VMA: Final = ProbeInfo(
    name="vma",
    granularity=Granularity.MAPPING,
    sees="rw",
    limits=(
        "tells how much of each mapping was accessed but not where; sees neither a KVM guest's "
        "accesses, nor read(2) and write(2), nor pages that never leave the processor's TLB; "
        "stops the process from changing its mappings for 15 ms per GiB of 4K pages each round"
    ),
)


class VmaSampler:
    """A `MappingSampler` of one process, until it exits or calls exec.

    `foreign_clears` counts readings that found accesses forgotten which the reading before had
    seen, with no `clear` in between: a second reading in a round, now and then, shows another
    user of clear_refs, reclaim that ages this memory, and MADV_COLD, be it our own. Not to be
    told: a clearing between our own and the first reading, and one after which everything was
    accessed again before the next reading. Two readers of this agent are kept apart by
    `monitor_lock`, others only by this counter.
    """

    forgetting = "1"
    """What is written to clear_refs: forget all accesses."""

    def __init__(self, roots: Roots, process: Placement) -> None:
        self._image = ProcessImage(roots, process)
        self._stall = StallEstimate()
        self._last: tuple[MappingUse, ...] = ()
        self._comparable = False
        self._first_look: tuple[int, int] | None = None
        self.foreign_clears = 0
        try:
            self._image.check_writable("clear_refs")
        except BaseException:
            self._image.close()
            raise

    def clear(self) -> None:
        """Forget past accesses, also those which reclaim and other monitors would have seen."""
        self._image.check()
        self._comparable = False
        self._stall.begin(self._image.write("clear_refs", self.forgetting))
        # clear_refs goes by the process: after an exec it has cleared the new program's memory.
        self._image.check()

    def read(self) -> tuple[MappingUse, ...]:
        """Its mappings, ascending, with what was referenced since `clear`."""
        text, longest_us = self._image.read_smaps()
        self._stall.add(longest_us)
        uses = self._uses(text)
        if self._comparable and is_foreign_clear(self._last, uses):
            self.foreign_clears += 1
        self._last, self._comparable = uses, True
        return uses

    def predicted_stall_us(self) -> int:
        """By resident memory, of which huge pages are nearly free, and by earlier rounds.

        0 for a process that has gone. The first call may look for huge pages: 3 ms of our time
        per GiB of 4K pages, in steps that stop nobody.
        """
        try:
            self._image.check()
            resident = read_resident_bytes(self._image)
            small, huge = self._known_bytes(resident)
        except ProcessLookupError:
            return 0
        grown = max(resident - small - huge, 0)
        return self._stall.predict_us(small + grown, huge)

    def close(self) -> None:
        """Give back descriptors; may be called again."""
        self._image.close()

    def _uses(self, smaps: bytes) -> tuple[MappingUse, ...]:
        return tuple(MappingUse(*smap[:10]) for smap in parse_smaps(smaps))

    def _known_bytes(self, resident: int) -> tuple[int, int]:
        """Small and huge pages when last seen."""
        if self._last:
            huge = sum(use.huge for use in self._last)
            return sum(use.rss for use in self._last) - huge, huge
        if self._first_look is None:
            huge = read_huge_bytes(self._image, resident)
            self._first_look = (resident - huge, huge)
        return self._first_look


class VmaProbe:
    """A `MappingProbe`."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    @property
    def info(self) -> ProbeInfo:
        """What it is."""
        return VMA

    def open(self, process: Placement) -> VmaSampler:
        """A sampler of that process.

        Raises `ProcessLookupError` when it has gone or has no memory of its own to run in (a kernel
        thread), `HostError` when a privilege is missing. Whether it runs a virtual machine is the
        caller's to ask.
        """
        return VmaSampler(self._roots, process)

    def close(self) -> None:
        """Nothing is shared."""
