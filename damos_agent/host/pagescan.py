"""PAGEMAP_SCAN (Linux 6.7 and later): how much of a process's memory is of some kind.

Linux: Documentation/admin-guide/mm/pagemap.rst, include/uapi/linux/fs.h.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from array import array
from enum import IntFlag
from typing import Final

_REQUEST: Final = 0xC0606610
# size flags start end walk_end vec vec_len max_pages inverted mask anyof_mask return_mask
_ARGUMENT: Final = struct.Struct("=12Q")
_WALK_END: Final = 4
WORDS_PER_RANGE: Final = 3
"""Of struct page_region: start, end, kinds."""
RANGES: Final = 512
"""So many are asked for by one call."""

CHUNK_BYTES: Final = 32 << 20
"""Memory looked at by one call: 4K pages cost 3 ms per GiB, during which the mappings are locked,
so 0.1 ms."""


class Page(IntFlag):
    """Kinds of pages: PAGE_IS_*."""

    FILE = 1 << 2
    PRESENT = 1 << 3
    SWAPPED = 1 << 4
    HUGE = 1 << 6
    SOFT_DIRTY = 1 << 7


NOTHING: Final = Page(0)


def scan_bytes(pagemap: int, start: int, end: int, kind: Page) -> int | None:
    """Bytes from `start` to `end` in pages that are all of `kind`, by an open /proc/PID/pagemap.

    None where this kernel cannot tell. Nothing is found where nothing is mapped.
    """
    found = array("Q", bytes(RANGES * WORDS_PER_RANGE * 8))
    total = 0
    try:
        while start < end:
            chunk_end = min(start + CHUNK_BYTES, end)
            start, ranges = call(pagemap, start, chunk_end, found, all_of=kind, told=kind)
            words = found[: ranges * WORDS_PER_RANGE]
            total += sum(words[1::WORDS_PER_RANGE]) - sum(words[::WORDS_PER_RANGE])
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return None
        raise
    return total


def call(
    pagemap: int,
    start: int,
    end: int,
    found: array[int],
    *,
    told: Page,
    all_of: Page = NOTHING,
    any_of: Page = NOTHING,
) -> tuple[int, int]:
    """One ioctl: where it stopped, and how many (start, end, kinds `told`) it put into `found`."""
    address, _ = found.buffer_info()
    argument = bytearray(
        _ARGUMENT.pack(
            *(_ARGUMENT.size, 0, start, end, 0, address, len(found) // WORDS_PER_RANGE),
            *(0, 0, all_of, any_of, told),
        )
    )
    ranges = fcntl.ioctl(pagemap, _REQUEST, argument)
    return int(_ARGUMENT.unpack(argument)[_WALK_END]), ranges
