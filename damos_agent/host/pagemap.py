"""What is in memory of a process, page by page: /proc/PID/pagemap.

Entries as in Documentation/admin-guide/mm/pagemap.rst. One read of 8 bytes takes 1-2 µs, a whole
range 7 ms per GiB; `PAGEMAP_SCAN` (6.7) counts the same in 3 ms, or 0.05 ms with huge pages.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from damos_agent.host.pagemap_scan import Scan, scan

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
HUGE_BYTES: Final = 2 << 20
"""A huge page of x86-64 and of arm64 with 4 KiB pages."""
ENTRY_BYTES: Final = 8
_PRESENT: Final = 1 << 63
_PFN: Final = (1 << 55) - 1
_TOP: Final = slice(7 if sys.byteorder == "little" else 0, None, ENTRY_BYTES)
_TOP_PRESENT: Final = bytes(bit >> 7 & 1 for bit in range(256))  # by the top byte of an entry
_TOP_SWAPPED: Final = bytes(bit >> 6 == 1 for bit in range(256))
_TOP_OWN: Final = bytes(bit & 0xA1 == 0x81 for bit in range(256))
"""In memory (63), no file's (61), mapped by this process alone (56)."""
_CHUNK_PAGES: Final = 1 << 15
"""Pages per read of a range: the mmap lock is given back between two of them."""


@dataclass(frozen=True, slots=True)
class Residency:
    """Bytes of a range that are in memory, in swap, and (of those in memory) in huge pages.

    Before 6.7 `huge` is told by page frames, so only to CAP_SYS_ADMIN; else it is 0.
    """

    present: int = 0
    swapped: int = 0
    huge: int = 0

    def __add__(self, other: Residency) -> Residency:
        return Residency(
            self.present + other.present, self.swapped + other.swapped, self.huge + other.huge
        )


def frame(entry: int) -> int | None:
    """Its page frame number; None when it is not in memory, 0 without CAP_SYS_ADMIN."""
    return entry & _PFN if entry & _PRESENT else None


def count_entries(entries: array[int], first_page: int = 0) -> Residency:
    """The sum of the entries of pages in order, from that one on; without a loop over pages."""
    top = entries.tobytes()[_TOP]
    present = top.translate(_TOP_PRESENT).count(1)
    swapped = top.translate(_TOP_SWAPPED).count(1)
    huge = _huge_pages(entries, first_page) if present else 0
    return Residency(present * PAGE_BYTES, swapped * PAGE_BYTES, huge * HUGE_BYTES)


def _huge_pages(entries: array[int], first_page: int) -> int:
    """Huge pages, known by aligned runs of page frames; none without the right to see frames."""
    unit = HUGE_BYTES // PAGE_BYTES
    found = 0
    for offset in range(-first_page % unit, len(entries) - unit + 1, unit):
        head, tail = frame(entries[offset]) or 0, frame(entries[offset + unit - 1])
        found += bool(head) and head % unit == 0 and tail == head + unit - 1
    return found


class Pagemap:
    """The pagemap of one process, kept open. A context manager.

    It stays with the memory that the process had when it was opened: after an exit or exec every
    method raises `ProcessLookupError`. Opening raises that too, or `OSError` (EACCES, EPERM) when
    the process may not be looked at (CAP_SYS_PTRACE). Addresses and sizes in bytes.
    """

    def __init__(
        self,
        pid: int,
        proc: str = "/proc",
        *,
        directory: int | None = None,
        scan_range: Callable[[int, int, int], Scan | None] = scan,
    ) -> None:
        """`directory`: a descriptor of /proc/PID, which pins the process down, in place of both."""
        self._scan = scan_range
        flags = os.O_RDONLY | os.O_CLOEXEC
        try:
            if directory is None:
                self._file = os.open(f"{proc}/{pid}/pagemap", flags)
            else:
                self._file = os.open("pagemap", flags, dir_fd=directory)
        except FileNotFoundError as error:
            raise ProcessLookupError(error.errno, "the process has gone") from error

    def fileno(self) -> int:
        """Its descriptor; -1 once closed."""
        return self._file

    def entries(self, addresses: Sequence[int]) -> list[int]:
        """The entry of the page at each address; 0 where nothing can be mapped."""
        read, file = os.pread, self._file
        found = []
        for address in addresses:
            raw = read(file, ENTRY_BYTES, address // PAGE_BYTES * ENTRY_BYTES)
            if len(raw) != ENTRY_BYTES:
                self.check_alive()  # else: above what a process may map
            found.append(int.from_bytes(raw, sys.byteorder))
        return found

    def entry(self, address: int) -> int:
        """The entry of the page at `address`."""
        return self.entries((address,))[0]

    def range_entries(self, start: int, end: int) -> array[int]:
        """Entries of the pages from `start` up to `end`, in order."""
        found = array("Q")
        place, last = start // PAGE_BYTES, -(-end // PAGE_BYTES)
        while place < last:
            wanted = min(last - place, _CHUNK_PAGES) * ENTRY_BYTES
            raw = os.pread(self._file, wanted, place * ENTRY_BYTES)
            if not raw:
                self.check_alive()
                break
            found.frombytes(raw)
            place += len(raw) // ENTRY_BYTES
        return found

    def present(self, addresses: Sequence[int]) -> list[bool]:
        """Whether the page at each address is in memory."""
        return [bool(entry & _PRESENT) for entry in self.entries(addresses)]

    def count(self, start: int, end: int) -> Residency:
        """What of the range is in memory and in swap; whole pages from `start` up to `end`."""
        start -= start % PAGE_BYTES
        end += -end % PAGE_BYTES
        sums = self._scan(self._file, start, end) if start < end else Scan(0, 0, 0)
        self.check_alive()
        if sums is not None:
            return Residency(sums.present, sums.swapped, sums.huge)
        return count_entries(self.range_entries(start, end), start // PAGE_BYTES)

    def count_own(self, start: int, end: int) -> int:
        """Bytes of the range in memory that are anonymous and no other process maps."""
        top = self.range_entries(start, end).tobytes()[_TOP]
        return top.translate(_TOP_OWN).count(1) * PAGE_BYTES

    def check_alive(self) -> None:
        """`ProcessLookupError` when this memory is no longer that of a process."""
        if len(os.pread(self._file, ENTRY_BYTES, 0)) != ENTRY_BYTES:
            raise ProcessLookupError("the process has gone, or runs another program")

    def close(self) -> None:
        """Give back the descriptor; may be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
