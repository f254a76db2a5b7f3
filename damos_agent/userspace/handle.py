"""One process held for actions: its pidfd, its residency, its mappings, and proof that it is it."""

from __future__ import annotations

import errno
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from damos_agent.host.filesystem import Filesystem
from damos_agent.host.madvise import Advice, Advised, advise
from damos_agent.host.move_pages import Moved, migrate
from damos_agent.host.process import read_own_pid, read_stat
from damos_agent.host.roots import Roots
from damos_agent.host.touchable import read_touchable
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.effect import PagemapReader, ResidencyReader

# pidfd_open: ESRCH for nobody, EINVAL (ENOENT since 6.16) for a thread that leads no process.
_NOBODY: Final = frozenset({errno.ESRCH, errno.EINVAL, errno.ENOENT})


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything the actor does to the world, so that tests can do it to another one."""

    fs: Filesystem
    roots: Roots
    sleep: Callable[[float], None] = time.sleep
    clock_ns: Callable[[], int] = time.monotonic_ns
    open_pidfd: Callable[[int], int] = os.pidfd_open
    close: Callable[[int], None] = os.close
    open_reader: Callable[[int], ResidencyReader] = PagemapReader
    advise: Callable[[int, Advice, Sequence[AddressRange]], Advised] = advise
    migrate: Callable[[int, Sequence[int], int], Moved] = migrate


class Handle:
    """A process opened at `open_handle`; it stays bound to the memory it had then."""

    def __init__(
        self, process: Placement, effects: Effects, pidfd: int, reader: ResidencyReader
    ) -> None:
        self.process = process
        self.pidfd = pidfd
        self.reader = reader
        self._effects = effects
        self._image: tuple[str, ...] | None = None
        self._touchable: tuple[AddressRange, ...] | None = None
        self._read_ns = 0

    def check(self) -> None:
        """Raise `ProcessLookupError` when the process has ended or called exec since opening."""
        stat = read_stat(self._effects.fs, self._effects.roots, self.process.pid)
        if stat is None or not stat.alive or stat.start_ticks != self.process.start_ticks:
            raise ProcessLookupError(errno.ESRCH, "the process has gone")
        # The name is not compared: threads may change it without exec.
        if self._image is None:
            self._image = stat.image
        elif self._image != stat.image:
            raise ProcessLookupError(errno.ESRCH, "the process has called exec")

    def clip(self, where: AddressRange, max_age_us: int) -> tuple[AddressRange, ...]:
        """The parts of `where` that may be touched, by mappings no older than `max_age_us`."""
        now_ns = self._effects.clock_ns()
        stale = now_ns - self._read_ns > max_age_us * 1_000
        if self._touchable is None or stale:
            self._touchable = read_touchable(
                self._effects.fs, self._effects.roots, self.process.pid
            )
            self._read_ns = now_ns
        known = self._touchable
        first = bisect_right(known, where.start, key=lambda item: item.end)
        last = bisect_left(known, where.end, key=lambda item: item.start)
        return tuple(
            AddressRange(max(item.start, where.start), min(item.end, where.end))
            for item in known[first:last]
        )

    def drop_mappings(self) -> None:
        """Something was not as the mappings said: read them again before the next action."""
        self._touchable = None

    def close(self) -> None:
        """Give back the descriptors; may be called again."""
        self.reader.close()
        if self.pidfd >= 0:
            self._effects.close(self.pidfd)
            self.pidfd = -1


def open_handle(process: Placement, effects: Effects) -> Handle:
    """Open a process; raises `ProcessLookupError` when it is not there, and for ourselves."""
    if process.pid == read_own_pid(effects.fs, effects.roots):
        raise ProcessLookupError(errno.ESRCH, "that is this agent itself")
    try:
        pidfd = effects.open_pidfd(process.pid)
    except OSError as error:
        if error.errno in _NOBODY:
            raise ProcessLookupError(errno.ESRCH, "the process has gone") from error
        raise HostError(
            f"process {process.pid} cannot be opened", errno=error.errno, hint="this is retried"
        ) from error
    try:
        handle = Handle(process, effects, pidfd, effects.open_reader(process.pid))
    except BaseException:
        effects.close(pidfd)
        raise
    try:
        # Only now is the pid pinned down: before, it could have become another's.
        handle.check()
    except BaseException:
        handle.close()
        raise
    return handle
