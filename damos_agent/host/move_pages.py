"""Where pages lie among NUMA nodes, and moving them there: move_pages(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from damos_agent.model.errors import HostError, UnsupportedError

PAGES_MAX: Final = 512
"""Pages of one call: 2 MiB of 4 KiB pages, so that the process's mmap lock is held shortly."""

_MPOL_MF_MOVE: Final = 2  # only pages that no other process maps
_NUMBERS: Final = {"x86_64": 279, "ppc64le": 301, "s390x": 310}
_GENERIC: Final = 239  # asm-generic: arm64, riscv64, loongarch64
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

Call: TypeAlias = Callable[[int, Sequence[int], int | None], list[int]]
"""pid, addresses, node (None: only ask) → a status for each address; raises `OSError`."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Pages by what became of them.

    `there` were on the node before; `absent` not resident; `shared` mapped by others too;
    `busy` under I/O, pinned, or the node had no room.
    """

    moved: int = 0
    there: int = 0
    absent: int = 0
    shared: int = 0
    busy: int = 0

    def __add__(self, other: Moved) -> Moved:
        return Moved(
            self.moved + other.moved,
            self.there + other.there,
            self.absent + other.absent,
            self.shared + other.shared,
            self.busy + other.busy,
        )


def move_pages(pid: int, addresses: Sequence[int], node: int | None) -> list[int]:
    """The bare system call: for each address its node, or a negative errno.

    -EFAULT also stands for a page of a kind that is never moved (the zero page).
    """
    count = len(addresses)
    pages = (ctypes.c_void_p * count)(*addresses)
    nodes = None if node is None else (ctypes.c_int * count)(*([node] * count))
    status = (ctypes.c_int * count)(*([-errno.ENOENT] * count))
    done = _LIBC.syscall(
        ctypes.c_long(_NUMBERS.get(platform.machine(), _GENERIC)),
        ctypes.c_int(pid),
        ctypes.c_ulong(count),
        pages,
        nodes,
        status,
        ctypes.c_int(_MPOL_MF_MOVE),
    )
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return list(status)


def migrate(pid: int, addresses: Sequence[int], node: int, call: Call = move_pages) -> Moved:
    """Move the pages at these addresses to `node`, at most `PAGES_MAX` of them.

    Raises `ProcessLookupError` once the process has gone, `UnsupportedError` for a node or a
    machine that cannot take them, `HostError` when we may not.
    """
    try:
        before = call(pid, addresses, None)
        pairs = list(zip(addresses, before, strict=True))
        away = [address for address, at in pairs if at >= 0 and at != node]
        after = call(pid, away, node) if away else []
    except OSError as error:
        raise _explain(error, node) from error
    counted = count(before, node)
    moved = sum(at == node for at in after)
    shared = sum(at == -errno.EACCES for at in after)
    return counted + Moved(moved=moved, shared=shared, busy=len(away) - moved - shared)


def count(status: Sequence[int], node: int) -> Moved:
    """What a query told, without the pages that lie on another node."""
    return Moved(
        there=sum(at == node for at in status),
        absent=sum(at in (-errno.ENOENT, -errno.EFAULT) for at in status),
        shared=sum(at == -errno.EACCES for at in status),
        busy=sum(at == -errno.EBUSY for at in status),
    )


def _explain(error: OSError, node: int) -> OSError | HostError | UnsupportedError:
    match error.errno:
        case errno.ESRCH:
            return ProcessLookupError(errno.ESRCH, "the process has gone")
        case errno.ENODEV:
            return UnsupportedError(
                f"there is no NUMA node {node} with memory",
                errno=error.errno,
                hint="see /sys/devices/system/node/has_memory",
            )
        case errno.EINVAL:
            return UnsupportedError(
                "this memory cannot be moved between NUMA nodes",
                errno=error.errno,
                hint="the process must have memory of its own; kernel threads have none",
            )
        case errno.ENOSYS:
            return UnsupportedError(
                "this kernel cannot move pages",
                errno=error.errno,
                hint="it takes CONFIG_NUMA and CONFIG_MIGRATION",
            )
        case errno.EACCES:
            return UnsupportedError(
                f"the process's cpuset does not allow node {node}",
                errno=error.errno,
                hint="add the node to cpuset.mems of its cgroup",
            )
        case errno.EPERM:
            return HostError(
                "not allowed to move another process's pages",
                errno=error.errno,
                hint="it takes CAP_SYS_NICE and CAP_SYS_PTRACE",
            )
    return HostError("pages cannot be moved", errno=error.errno, hint="this is tried again")
