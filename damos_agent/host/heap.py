"""The C library's heap: what was freed goes back to the kernel."""

from __future__ import annotations

import ctypes
from typing import Final

_LIBC: Final = ctypes.CDLL(None)


def give_back() -> None:
    """Unmap free pages within the heap, where the C library can (glibc's malloc_trim(3))."""
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
