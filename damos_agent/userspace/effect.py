"""Reading back what an action did: how much of a range is resident, swapped out, huge."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from damos_agent.host.pagemap import frame
from damos_agent.model.errors import HostError

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
HUGE_BYTES: Final = 2 << 20
"""A huge page of x86-64 and of arm64 with 4 KiB pages."""

_ENTRY: Final = 8
_CHUNK: Final = 1 << 17  # bytes of entries a pread: 64 MiB of memory
_PRESENT: Final = bytes(bit >> 7 & 1 for bit in range(256))  # bit 63, by the entry's top byte
_SWAPPED: Final = bytes(bit >> 6 & 1 for bit in range(256))  # bit 62
_FRAME: Final = (1 << 55) - 1


@dataclass(frozen=True, slots=True)
class Residency:
    """Bytes of a range: in memory, in swap, and in memory as huge pages."""

    present: int = 0
    swapped: int = 0
    huge: int = 0

    def __add__(self, other: Residency) -> Residency:
        return Residency(
            self.present + other.present, self.swapped + other.swapped, self.huge + other.huge
        )


class ResidencyReader(Protocol):
    """Sees one process's memory, as long as it is the one it was opened on.

    `ProcessLookupError` once the process has gone or has called exec.
    """

    def frames(self, addresses: Sequence[int]) -> list[int | None]:
        """For each address, the frame its page is in; None if not in memory, 0 if not shown."""
        ...

    def count(self, start: int, end: int) -> Residency:
        """What of [start, end) is where."""
        ...

    def close(self) -> None:
        """Give back descriptors; may be called again."""
        ...


class PagemapReader:
    """By pread of /proc/PID/pagemap. The open file stays with the memory it was opened on."""

    def __init__(self, pid: int, proc: str = "/proc") -> None:
        self._path = f"{proc}/{pid}/pagemap"
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESRCH):
                raise ProcessLookupError(errno.ESRCH, "the process has gone") from error
            raise HostError(
                "residency cannot be read",
                path=self._path,
                errno=error.errno,
                hint="run as root, or with CAP_SYS_PTRACE",
            ) from error

    def frames(self, addresses: Sequence[int]) -> list[int | None]:
        """One pread each, about 1.5 µs. Frames are shown to CAP_SYS_ADMIN."""
        return [
            frame(int.from_bytes(self._entries(address // PAGE_BYTES, 1), "little"))
            for address in addresses
        ]

    def count(self, start: int, end: int) -> Residency:
        """In chunks; entries are counted by their top byte, without a loop over pages."""
        total = Residency()
        page, last = start // PAGE_BYTES, -(-end // PAGE_BYTES)
        while page < last:
            pages = min(last - page, _CHUNK // _ENTRY)
            raw = self._entries(page, pages)
            top = raw[7::8]
            present = top.translate(_PRESENT).count(1)
            swapped = top.translate(_SWAPPED).count(1)
            huge = _huge_pages(raw, page) if present else 0
            total += Residency(present * PAGE_BYTES, swapped * PAGE_BYTES, huge * HUGE_BYTES)
            page += pages
        return total

    def close(self) -> None:
        """Close the file once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _entries(self, page: int, pages: int) -> bytes:
        raw = os.pread(self._descriptor, pages * _ENTRY, page * _ENTRY)
        # The file reads as ended when its memory has been torn down by exit or exec.
        if len(raw) < pages * _ENTRY:
            raise ProcessLookupError(errno.ESRCH, "the process has gone")
        return raw


def _huge_pages(raw: bytes, first_page: int) -> int:
    """Huge pages, known by aligned runs of page frames; none without the right to see frames."""
    unit = HUGE_BYTES // PAGE_BYTES
    found = 0
    for offset in range(-first_page % unit, len(raw) // _ENTRY - unit + 1, unit):
        frames = array("Q", raw[offset * _ENTRY : (offset + unit) * _ENTRY])
        head = frames[0] & _FRAME
        tail = frames[-1] & _FRAME
        both_present = frames[0] >> 63 and frames[-1] >> 63
        found += bool(both_present and head and head % unit == 0 and tail == head + unit - 1)
    return found
