"""Following processes to their end: the main loop wakes the moment one of them exits."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from damos_agent.host.filesystem import Filesystem
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement

# pidfd_open says ESRCH for nobody; EINVAL (ENOENT since 6.16) for a thread that leads no process.
_NOBODY: Final = frozenset({errno.ESRCH, errno.EINVAL, errno.ENOENT})


class ProcessWatcher:
    """One epoll over the pidfds of the followed processes.

    What cannot be opened (no descriptors left, forbidden, a kernel without pidfds) is polled:
    `take_exited` looks at its stat file, and `watch` tries again to open it. Used as a context
    manager, or ended with `close`.
    """

    def __init__(
        self,
        fs: Filesystem,
        roots: Roots,
        open_pidfd: Callable[[int], int] | None = None,
    ) -> None:
        self._fs = fs
        self._roots = roots
        self._open = os.pidfd_open if open_pidfd is None else open_pidfd
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, Placement] = {}
        self._descriptors: dict[Placement, int] = {}
        self._polled: set[Placement] = set()
        self._exited: set[Placement] = set()

    def fileno(self) -> int:
        """A descriptor that is readable while an exit waits to be taken; for select or epoll."""
        return self._epoll.fileno()

    @property
    def polled(self) -> frozenset[Placement]:
        """Processes whose end only `take_exited` finds out."""
        return frozenset(self._polled)

    def watch(self, processes: Iterable[Placement]) -> tuple[Placement, ...]:
        """Follow exactly these from now on; returns those among them that have already gone.

        An exit not yet taken is forgotten when its process is no longer followed.
        """
        wanted = set(processes)
        for process in set(self._descriptors) - wanted:
            self._drop(process)
        self._polled &= wanted
        self._exited &= wanted
        return tuple(
            process
            for process in sorted(wanted - set(self._descriptors) - self._exited, key=_order)
            if not self._follow(process)
        )

    def take_exited(self) -> tuple[Placement, ...]:
        """Followed processes that have exited since the last call, each told once."""
        for descriptor, _ in self._epoll.poll(0, max(len(self._descriptors), 1)):
            process = self._by_descriptor[descriptor]
            self._drop(process)
            self._exited.add(process)
        for process in {p for p in self._polled if not self._is_alive(p)}:
            self._polled.discard(process)
            self._exited.add(process)
        taken = tuple(sorted(self._exited, key=_order))
        self._exited.clear()
        return taken

    def close(self) -> None:
        """Give back every descriptor; may be called again."""
        for process in tuple(self._descriptors):
            self._drop(process)
        self._polled.clear()
        self._epoll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _follow(self, process: Placement) -> bool:
        """Whether the process is there to be followed."""
        try:
            descriptor = self._open(process.pid)
        except OSError as error:
            if error.errno in _NOBODY:
                self._polled.discard(process)
                return False
            return self._poll(process)
        # Only now is the pid pinned down: before, it could have become another's.
        if not self._is_alive(process):
            os.close(descriptor)
            self._polled.discard(process)
            return False
        try:
            self._epoll.register(descriptor, select.EPOLLIN)
        except OSError:
            os.close(descriptor)
            return self._poll(process)
        self._polled.discard(process)
        self._by_descriptor[descriptor] = process
        self._descriptors[process] = descriptor
        return True

    def _poll(self, process: Placement) -> bool:
        alive = self._is_alive(process)
        (self._polled.add if alive else self._polled.discard)(process)
        return alive

    def _is_alive(self, process: Placement) -> bool:
        stat = read_stat(self._fs, self._roots, process.pid)
        return stat is not None and stat.alive and stat.start_ticks == process.start_ticks

    def _drop(self, process: Placement) -> None:
        descriptor = self._descriptors.pop(process)
        del self._by_descriptor[descriptor]
        self._epoll.unregister(descriptor)
        os.close(descriptor)


def _order(process: Placement) -> tuple[int, int]:
    return (process.pid, process.start_ticks)
