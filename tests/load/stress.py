# SPDX-License-Identifier: Apache-2.0
"""What makes life hard for those who watch processes, besides their memory."""

from __future__ import annotations

import mmap
import os
import signal
import time

from tests.load import libc
from tests.load.layout import PAGE
from tests.load.memory import Memory

_CHILD_S = 0.05


def map_tiny(count: int) -> mmap.mmap:
    """That many mappings of one resident page each; neighbours differ in protection."""
    mapped = mmap.mmap(-1, (count + 2) * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    mapped[::PAGE] = b"\1" * (count + 2)
    start, end = libc.address_of(mapped), (count + 1) * PAGE
    for offset in range(PAGE, end, 2 * PAGE):
        libc.protect(start + offset, PAGE, mmap.PROT_READ)
    # The ends are guards, so that the outer ones have no neighbour to merge with.
    for offset in (0, end):
        libc.protect(start + offset, PAGE, libc.PROT_NONE)
    return mapped


class ForkStorm:
    """Starts one child per round, until there were `count`; each lives for a moment.

    Children do not inherit the load's memory: copying it would make its pages shared.
    """

    def __init__(self, count: int, memory: Memory) -> None:
        self.left = count
        for part in memory.parts if count else ():
            memory.mapped.madvise(mmap.MADV_DONTFORK, part.index, part.size)
        if count:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them

    def blow(self) -> None:
        """The next child."""
        if self.left:
            self.left -= 1
            if not os.fork():
                time.sleep(_CHILD_S)
                os._exit(0)


def share(count: int) -> list[int]:
    """The pids of that many children that map all of our memory and never touch it."""
    return [_sharer(os.getpid()) for _ in range(count)]


def _sharer(parent: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    libc.die_with(parent)
    while True:
        signal.pause()
