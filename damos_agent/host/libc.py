"""What Python has no function for: system calls by number, and the C library's heap."""

from __future__ import annotations

import ctypes
import os
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def system_call(number: int, *arguments: int) -> int:
    """What the kernel returns; pointers go in as numbers. Raises `OSError` as os functions do."""
    result = int(_LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def give_back() -> None:
    """Unmap free pages within the heap, where the C library can (glibc's malloc_trim(3))."""
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
