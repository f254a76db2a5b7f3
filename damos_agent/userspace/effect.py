"""Reading back what an action did: how much of a range is resident, swapped out, huge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from damos_agent.host.pagemap import HUGE_BYTES, PAGE_BYTES, Pagemap, Residency, frame
from damos_agent.model.errors import HostError

__all__ = ["HUGE_BYTES", "PAGE_BYTES", "PagemapReader", "Residency", "ResidencyReader"]


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

    def count_own(self, start: int, end: int) -> int:
        """Bytes of it in memory that are anonymous and of this process alone."""
        ...

    def close(self) -> None:
        """Give back descriptors; may be called again."""
        ...


class PagemapReader:
    """By /proc/PID/pagemap. The open file stays with the memory it was opened on."""

    def __init__(self, pid: int, proc: str = "/proc") -> None:
        try:
            self._pagemap = Pagemap(pid, proc)
        except ProcessLookupError:
            raise
        except OSError as error:
            raise HostError(
                "residency cannot be read",
                path=f"{proc}/{pid}/pagemap",
                errno=error.errno,
                hint="run as root, or with CAP_SYS_PTRACE",
            ) from error

    def frames(self, addresses: Sequence[int]) -> list[int | None]:
        """One pread each, about 1.5 µs. Frames are shown to CAP_SYS_ADMIN."""
        return [frame(entry) for entry in self._pagemap.entries(addresses)]

    def count(self, start: int, end: int) -> Residency:
        """See `Pagemap.count`."""
        return self._pagemap.count(start, end)

    def count_own(self, start: int, end: int) -> int:
        """See `Pagemap.count_own`; 7 ms a GiB."""
        return self._pagemap.count_own(start, end)

    def close(self) -> None:
        """Close the file once."""
        self._pagemap.close()
