# SPDX-License-Identifier: Apache-2.0
"""For loads in emulated guests: have the processor look at its page tables anew."""

from __future__ import annotations

import mmap

_PAGE = 4096
_FLUSH = 40 * _PAGE
_kept = mmap.mmap(-1, _FLUSH, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)


def forget_translations() -> None:
    """The next access of each page is marked in its page table entry again.

    A processor does not mark a page as accessed while it still knows the translation. Real ones
    forget soon, for want of room; an emulated one remembers tens of thousands, so that memory in
    constant use looks idle to all that clear accessed bits without a flush. Unmapping more than
    33 pages flushes all (x86, tlb_single_page_flush_ceiling). They stay in memory and are mapped a
    few faults at a time, since this is done hundreds of times a second.
    """
    _ = _kept[::_PAGE]
    _kept.madvise(mmap.MADV_DONTNEED)
