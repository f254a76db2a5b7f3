"""Where a range of memory is, by PAGEMAP_SCAN (since 6.7)."""

from __future__ import annotations

import errno
from array import array
from dataclasses import dataclass
from typing import Final

from damos_agent.host.pagescan import RANGES, WORDS_PER_RANGE, Page, call

_KINDS: Final = Page.PRESENT | Page.SWAPPED
_TOLD: Final = _KINDS | Page.HUGE
# As numbers: operators of flags take ten times as long, and there are many ranges.
_PRESENT, _SWAPPED, _HUGE = int(Page.PRESENT), int(Page.SWAPPED), int(Page.HUGE)
_MISSING: Final = frozenset({errno.ENOTTY, errno.EINVAL, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Scan:
    """Bytes of a range by kind; `huge` of those present are mapped by huge pages."""

    present: int
    swapped: int
    huge: int


def scan(file: int, start: int, end: int) -> Scan | None:
    """Count a range of whole pages; None on kernels without this ioctl.

    Counts nothing once the process has gone: who asks must look whether it has.
    """
    ranges = array("Q", bytes(8 * WORDS_PER_RANGE * RANGES))
    present = swapped = huge = 0
    while start < end:
        try:
            stopped, number = call(file, start, end, ranges, any_of=_KINDS, told=_TOLD)
        except OSError as error:
            if error.errno in _MISSING:
                return None
            raise
        for place in range(0, number * WORDS_PER_RANGE, WORDS_PER_RANGE):
            size = ranges[place + 1] - ranges[place]
            kinds = ranges[place + 2]
            present += size if kinds & _PRESENT else 0
            swapped += size if kinds & _SWAPPED and not kinds & _PRESENT else 0
            huge += size if kinds & _HUGE and kinds & _PRESENT else 0
        if stopped <= start:
            break
        start = stopped
    return Scan(present, swapped, huge)
