# SPDX-License-Identifier: Apache-2.0
"""System calls that Python has no function for; they raise OSError."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

PROT_NONE = 0
_PR_SET_PDEATHSIG = 1
_ADDR_NO_RANDOMIZE = 0x0040000

# PyDLL keeps the interpreter lock: nobody else runs in between, and a fork sees no half of a call.
_LIBC = ctypes.PyDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p


def _call(name: str, address: int, size: int, *more: int) -> None:
    if _LIBC[name](ctypes.c_void_p(address), ctypes.c_size_t(size), *more):
        raise OSError(ctypes.get_errno(), f"{name} of {size} bytes at {address:#x}")


def protect(address: int, size: int, protection: int) -> None:
    """mprotect(2)."""
    _call("mprotect", address, size, protection)


def unmap(address: int, size: int) -> None:
    """munmap(2)."""
    _call("munmap", address, size)


def lock(address: int, size: int) -> None:
    """mlock(2)."""
    _call("mlock", address, size)


def mapper(size: int) -> Callable[[], Any]:
    """Calls C only: the address of `size` fresh bytes of anonymous memory, present already."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    length, offset = ctypes.c_size_t(size), ctypes.c_long(0)
    return partial(_LIBC.mmap, None, length, protection, flags, -1, offset)


def unmapper(address: int, size: int) -> Callable[[], Any]:
    """Calls C only: munmap(2), 0 if that went well."""
    return partial(_LIBC.munmap, ctypes.c_void_p(address), ctypes.c_size_t(size))


def die_with(parent: int) -> None:
    """Be killed as soon as the thread of that process which started us ends, if it has not yet."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def fix_addresses() -> None:
    """From the next exec on, have the same addresses in every run.

    With randomisation the heap lies up to 32 GiB behind the program; DAMON monitors that hole.
    """
    _LIBC.personality(_LIBC.personality(0xFFFFFFFF) | _ADDR_NO_RANDOMIZE)


def address_of(mapped: mmap.mmap) -> int:
    """Where it is. It cannot be closed any more."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))
