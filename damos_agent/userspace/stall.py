"""How long a walk over a process's page tables stops it from changing its mappings."""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from damos_agent.host.image import ProcessImage
from damos_agent.host.maps import parse_maps
from damos_agent.host.pagescan import Page, scan_bytes

_GIB: Final = 1 << 30
_SMALL_US_PER_GIB: Final = 15_000
"""Measured on Linux 6.18: 12 to 15 ms by 4K pages, whichever file asks for the walk."""
_HUGE_US_PER_GIB: Final = 150
_BELIEVED: Final = 4
_ALWAYS_US: Final = 2_000
_LOOK_BYTES: Final = 256 << 20
"""From here on it matters whether pages are huge (4 ms)."""


class StallEstimate:
    """What the next walk costs: the worse of what the memory suggests and what walks have taken.

    Of the last two rounds the shorter counts: one that merely had to wait for a processor, or for
    the lock itself, is forgotten a round later. A single one is believed as far as the memory may
    explain it.
    """

    def __init__(self) -> None:
        self._walks: deque[int] = deque(maxlen=2)

    def begin(self, walk_us: int) -> None:
        """A round has begun, by a walk of that long."""
        self._walks.append(walk_us)

    def add(self, walk_us: int) -> None:
        """The round under way has walked once more."""
        if self._walks:
            self._walks[-1] = max(self._walks[-1], walk_us)

    def predict_us(self, small_bytes: int, huge_bytes: int) -> int:
        """For so much resident memory, by size of page."""
        by_size = small_bytes * _SMALL_US_PER_GIB + huge_bytes * _HUGE_US_PER_GIB
        expected = by_size // _GIB
        if len(self._walks) == 1:
            return max(expected, min(self._walks[0], expected * _BELIEVED + _ALWAYS_US))
        return max(expected, min(self._walks, default=0))


def read_resident_bytes(image: ProcessImage) -> int:
    """Resident memory by the kernel's counters, which are a few pages off. Raises as the image."""
    return int(image.read("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_huge_bytes(image: ProcessImage, resident: int) -> int:
    """How much of `resident` bytes is in huge pages; looked up in short steps, not in one walk.

    0 where it is too little to matter, or cannot be told. Raises as the image.
    """
    if resident < _LOOK_BYTES:
        return 0
    ranges = parse_maps(image.read("maps"))
    image.check()
    found = sum(scan_bytes(image.pagemap, r.start, r.end, Page.HUGE) or 0 for r in ranges)
    return min(found, resident)
