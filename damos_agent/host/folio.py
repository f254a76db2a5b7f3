"""What the kernel says of physical pages: /proc/kpageflags and /proc/kpagecount.

Large folios (transparent huge pages among them) are one thing to the kernel: its state is kept at
the first page, the head. Bits: include/uapi/linux/kernel-page-flags.h. One look takes 0.5 µs.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError

LOCKED: Final = 1 << 0
LRU: Final = 1 << 5
COMPOUND_HEAD: Final = 1 << 15
COMPOUND_TAIL: Final = 1 << 16
HUGETLB: Final = 1 << 17
ZERO_PAGE: Final = 1 << 24
IDLE: Final = 1 << 25

MAX_ORDER: Final = 9
"""Folios on the LRU lists span at most 2**9 pages (2 MiB of 4 KiB pages), aligned to their size."""

_ENTRY_BYTES: Final = 8


class PageFlags:
    """Both files, kept open; a context manager. `HostError` when they cannot be read."""

    def __init__(self, roots: Roots) -> None:
        with ExitStack() as stack:
            self._flags = _open(f"{roots.proc}/kpageflags")
            stack.callback(os.close, self._flags)
            self._counts = _open(f"{roots.proc}/kpagecount")
            stack.callback(os.close, self._counts)
            self._opened = stack.pop_all()

    def flags(self, pfn: int) -> int:
        """Flags of one page; 0 for a frame that does not exist."""
        return _read(self._flags, pfn)

    def mappings(self, pfn: int) -> int:
        """How often the page is mapped; 0 for a frame that does not exist."""
        return _read(self._counts, pfn)

    def head(self, pfn: int) -> int:
        """The first page of the folio that `pfn` belongs to; `pfn` itself of a small one."""
        if not self.flags(pfn) & COMPOUND_TAIL:
            return pfn
        size = 1 << MAX_ORDER
        # The middle of an aligned block is a tail only if one folio fills the block.
        if self.flags((pfn & -size) + size // 2) & COMPOUND_TAIL:
            return pfn & -size
        for order in range(1, MAX_ORDER):
            candidate = pfn & -(1 << order)
            if self.flags(candidate) & COMPOUND_HEAD:
                return candidate
        return pfn & -size

    def pages(self, head: int) -> int:
        """How many pages the folio that begins at `head` has; at most 512, also of hugetlb."""
        if not self.flags(head) & COMPOUND_HEAD:
            return 1
        order = 1
        while order < MAX_ORDER and self.flags(head + (1 << order)) & COMPOUND_TAIL:
            order += 1
        return 1 << order

    def close(self) -> None:
        """Give back the descriptors; may be called again."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            "cannot be opened",
            path=path,
            errno=error.errno,
            hint="run as root, or with CAP_DAC_READ_SEARCH; the kernel needs PROC_PAGE_MONITOR",
        ) from error


def _read(file: int, pfn: int) -> int:
    return int.from_bytes(os.pread(file, _ENTRY_BYTES, pfn * _ENTRY_BYTES), "little")
