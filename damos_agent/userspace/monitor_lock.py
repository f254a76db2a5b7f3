"""One monitor per process: two would forget each other's accesses, and both see idle memory.

A lock is held by flock(2) on a file below the run directory, so it ends with its holder however
that ends. Monitors that do not know these files are not kept away.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError, OwnershipError

_DIRECTORY: Final = "monitors"
_SUFFIX: Final = ".lock"


class MonitorLock:
    """The right to watch one process, from construction until `close`.

    `run`: our run directory. `OwnershipError` names the holder when somebody has it, `HostError`
    when the directory cannot be used. Not to be kept over a fork, which would share it.
    """

    def __init__(self, run: str, process: Placement) -> None:
        self.process = process
        directory = f"{run}/{_DIRECTORY}"
        self._path = f"{directory}/{process.pid}-{process.start_ticks}{_SUFFIX}"
        self._descriptor: int | None = None
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._descriptor = _take(self._path)
        except OSError as error:
            raise HostError(
                "the lock of a monitored process cannot be taken",
                path=self._path,
                errno=error.errno,
                hint="may this user write there?",
            ) from error

    def close(self) -> None:
        """Give it back and remove its file; may be called again."""
        if self._descriptor is not None:
            # Removed while still held: whoever waits finds that its file is no longer the file.
            with suppress(OSError):
                os.unlink(self._path)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sweep_monitor_locks(run: str) -> int:
    """Remove the files of monitors that ended without doing so; how many."""
    directory = f"{run}/{_DIRECTORY}"
    removed = 0
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return 0
    for name in filter(lambda name: name.endswith(_SUFFIX), names):
        path = f"{directory}/{name}"
        with suppress(OSError, OwnershipError):
            descriptor = _take(path)
            os.unlink(path)
            os.close(descriptor)
            removed += 1
    return removed


def _take(path: str) -> int:
    """The locked file at `path`, open, with our pid in it."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return descriptor
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise _held(path, holder) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether the open file is still the one of that name, not one its holder just removed."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _held(path: str, holder: str) -> OwnershipError:
    target = os.path.basename(path).partition("-")[0]
    if holder == str(os.getpid()):
        return OwnershipError(
            f"process {target} is watched already, for another policy",
            path=path,
            hint="in user space a process is served by one policy: put the schemes into one, or "
            "narrow a target",
        )
    return OwnershipError(
        f"process {target} is watched already, by process {holder or 'unknown'}",
        path=path,
        hint="stop that monitor, or leave this process to it",
    )
