"""The kernel's idle page tracking: one bit per page frame, in words of 8 bytes.

Documentation/admin-guide/mm/idle_page_tracking.rst. Setting the bit of a frame also clears the
young bits of all its mappings, and reading a set one looks at them again: about 2 µs, so only
single bits are set. Other reads and writes than of whole aligned words are refused.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError, UnsupportedError

_WORD_BYTES: Final = 8
_WORD_BITS: Final = 64


class IdleBitmap:
    """The file of idle bits, open for reading and writing. `UnsupportedError`, `HostError`."""

    def __init__(self, roots: Roots) -> None:
        path = f"{roots.sysfs}/kernel/mm/page_idle/bitmap"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError as error:
            text = "the kernel was built without CONFIG_IDLE_PAGE_TRACKING"
            raise UnsupportedError(text, path=path, hint="use another probe") from error
        except OSError as error:
            raise HostError(
                "cannot be opened", path=path, errno=error.errno, hint="run as root"
            ) from error

    def set(self, pfn: int) -> None:
        """Mark the page idle, and forget past accesses.

        The kernel passes over what is not on an LRU list, as tails of folios are not; of a locked
        page it forgets nothing.
        """
        bit = 1 << pfn % _WORD_BITS
        try:
            os.pwrite(self._file, bit.to_bytes(_WORD_BYTES, "little"), _place(pfn))
        except OSError as error:
            if error.errno != errno.ENXIO:  # beyond the last page: memory was taken away
                raise HostError("idle pages cannot be marked", errno=error.errno) from error

    def is_idle(self, pfn: int) -> bool:
        """Whether the page is still idle.

        Locked pages are not looked at: what was marked still is. No others than those on an LRU
        list are ever idle.
        """
        word = int.from_bytes(os.pread(self._file, _WORD_BYTES, _place(pfn)), "little")
        return bool(word >> pfn % _WORD_BITS & 1)

    def close(self) -> None:
        """Give back the descriptor; may be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _place(pfn: int) -> int:
    return pfn // _WORD_BITS * _WORD_BYTES
