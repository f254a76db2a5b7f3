"""PAGEMAP_SCAN, an ioctl of /proc/PID/pagemap since 6.7 (include/uapi/linux/fs.h)."""

from __future__ import annotations

import errno
import fcntl
import struct
from array import array
from dataclasses import dataclass
from typing import Final

PRESENT: Final = 1 << 3
SWAPPED: Final = 1 << 4
HUGE: Final = 1 << 6

_ARGUMENT: Final = struct.Struct("=12Q")
_REQUEST: Final = 0xC0606610
_RANGES: Final = 512
_WORDS: Final = 3  # of struct page_region: start, end, categories
_WALK_END: Final = 4
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
    ranges = array("Q", bytes(8 * _WORDS * _RANGES))
    present = swapped = huge = 0
    while start < end:
        found = _call(file, start, end, ranges)
        if found is None:
            return None
        number, stopped = found
        for place in range(0, number * _WORDS, _WORDS):
            size = ranges[place + 1] - ranges[place]
            kinds = ranges[place + 2]
            present += size if kinds & PRESENT else 0
            swapped += size if kinds & SWAPPED and not kinds & PRESENT else 0
            huge += size if kinds & HUGE and kinds & PRESENT else 0
        if stopped <= start:
            break
        start = stopped
    return Scan(present, swapped, huge)


def _call(file: int, start: int, end: int, ranges: array[int]) -> tuple[int, int] | None:
    """(ranges filled, where the walk stopped)."""
    kinds = PRESENT | SWAPPED
    argument = bytearray(
        _ARGUMENT.pack(
            *(_ARGUMENT.size, 0, start, end, 0, ranges.buffer_info()[0], _RANGES, 0),
            *(0, 0, kinds, kinds | HUGE),  # inverted, all of, any of, told
        )
    )
    try:
        number = fcntl.ioctl(file, _REQUEST, argument, True)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise
    return number, _ARGUMENT.unpack(argument)[_WALK_END]
