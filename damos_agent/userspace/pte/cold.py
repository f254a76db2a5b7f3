"""Clearing young bits of another process: process_madvise(2) with MADV_COLD, since 5.10."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Sequence
from typing import Final

from damos_agent.host.libc import system_call
from damos_agent.host.madvise import NR_PROCESS_MADVISE, Advice
from damos_agent.model.errors import HostError, UnsupportedError

_IOVEC_BYTES: Final = 16

_BATCH: Final = 64
"""Ranges per call. The mmap lock is held for the whole call, and a young page takes 10-12 µs."""

_FORBIDDEN: Final = frozenset({errno.EPERM, errno.EACCES})
_REFUSED: Final = frozenset({errno.EINVAL, errno.ENOMEM, errno.EFAULT, errno.EIO, errno.EBUSY})


def clear(pidfd: int, ranges: Sequence[tuple[int, int]]) -> set[int]:
    """Clear the bits of these `(start, bytes)`; returns the indexes of those that were refused.

    Refused are locked (mlock), hugetlb and device mappings, and what is not mapped any more. Raises
    `ProcessLookupError`, and `HostError` or `UnsupportedError` as `check_allowed`.
    """
    vector = array("Q")
    for start, size in ranges:
        vector.extend((start, size))
    place, refused = 0, set()
    while place < len(ranges):
        count = min(_BATCH, len(ranges) - place)
        done = _call(pidfd, vector.buffer_info()[0] + place * _IOVEC_BYTES, count)
        end = place + count
        while place < end and done >= ranges[place][1]:
            done -= ranges[place][1]
            place += 1
        if place < end:  # the kernel stops at a bad one: go on behind it
            refused.add(place)
            place += 1
    return refused


def check_allowed(pidfd: int) -> None:
    """Whether the kernel would let us: `HostError` names the privilege, `UnsupportedError` not."""
    _call(pidfd, 0, 0)


def _call(pidfd: int, vector: int, count: int) -> int:
    """Bytes done, counted in whole ranges; 0 when the first was refused."""
    while True:
        try:
            return system_call(NR_PROCESS_MADVISE, pidfd, vector, count, Advice.COLD, 0)
        except InterruptedError:
            continue
        except OSError as error:
            if error.errno in _REFUSED and count:
                return 0
            raise _explain(error) from error


def _explain(error: OSError) -> Exception:
    if error.errno == errno.ESRCH:
        return ProcessLookupError(errno.ESRCH, "the process has gone")
    what = "process_madvise cannot be used on this process"
    if error.errno in _FORBIDDEN:
        hint = "run as root, or with CAP_SYS_NICE and CAP_SYS_PTRACE"
        return HostError(what, errno=error.errno, hint=hint)
    return UnsupportedError(what, errno=error.errno, hint="it takes Linux 5.10 or later")
