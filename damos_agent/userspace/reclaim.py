"""Reclaiming a cgroup's coldest memory where regions have no addresses: memory.reclaim.

The kernel chooses, and asked for more than is cold it evicts what is hot, for seconds: so it goes
in small steps, and ends at the first that falls short.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from damos_agent.host.filesystem import GONE, Filesystem
from damos_agent.model.errors import HostError, UnsupportedError

STEP_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """Bytes asked for and granted in full steps; why it ended before all was, or empty.

    `applied` is by memory.current before and after, so that what came meanwhile counts against it.
    """

    asked: int = 0
    applied: int = 0
    took_ns: int = 0
    stopped: str = ""


@dataclass(slots=True)
class CgroupReclaimer:
    """`directory`: of the cgroup, with its mount point. `sleep` gets seconds between steps.

    `swappiness` (0-200) is passed on where the kernel takes it (6.10+), else left out; `insists`:
    else nothing is done, by an `UnsupportedError`.
    """

    fs: Filesystem
    directory: str
    clock_ns: Callable[[], int]
    sleep: Callable[[float], None]
    swappiness: int | None = None
    insists: bool = False

    def reclaim(self, size: int, deadline_ns: int) -> Reclaimed:
        """Take up to `size` bytes until the deadline.

        Raises `UnsupportedError` without memory.reclaim, `HostError` when we may not.
        """
        before = self._current()
        asked = took_ns = 0
        stopped = ""
        while asked < size and not stopped:
            begin = self.clock_ns()
            if begin >= deadline_ns:
                stopped = "deadline"
                break
            step = min(STEP_BYTES, size - asked)
            stopped = self._step(step)
            asked += step
            worked = self.clock_ns() - begin
            took_ns += worked
            if asked < size and not stopped:
                self.sleep(worked / 1e9)
        return Reclaimed(asked, max(before - self._current(), 0), took_ns, stopped)

    def _step(self, size: int) -> str:
        """Ask for one step; why to stop, or empty."""
        try:
            self._write(size)
        except OSError as error:
            return self._refusal(error)
        return ""

    def _write(self, size: int) -> None:
        path = f"{self.directory}/memory.reclaim"
        if self.swappiness is not None:
            try:
                self.fs.write(path, f"{size} swappiness={self.swappiness}")
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                if self.insists:
                    raise UnsupportedError(
                        "memory.reclaim takes no swappiness here",
                        path=path,
                        errno=error.errno,
                        hint="filters on anonymous memory need Linux 6.10 or the multi-gen LRU",
                    ) from error
                self.swappiness = None
            else:
                return
        self.fs.write(path, str(size))

    def _refusal(self, error: OSError) -> str:
        path = f"{self.directory}/memory.reclaim"
        if error.errno == errno.EAGAIN:
            return "no more to reclaim"
        if error.errno in (errno.EINTR, errno.EBUSY):
            return "interrupted"
        if error.errno in GONE:
            if self.fs.exists(f"{self.directory}/cgroup.procs"):
                raise UnsupportedError(
                    "this cgroup has no memory.reclaim",
                    path=path,
                    errno=error.errno,
                    hint="it takes Linux 5.19, cgroup v2, and the memory controller switched on",
                ) from error
            return "the cgroup has gone"
        raise HostError(
            "the cgroup cannot be reclaimed", path=path, errno=error.errno, hint="run as root"
        ) from error

    def _current(self) -> int:
        try:
            return int(self.fs.read(f"{self.directory}/memory.current"))
        except (OSError, ValueError):
            return 0
