"""Noticing that configuration may have changed. A hint only: `digest_tree` decides.

watchdog's emitters die with the directory they watch, and would follow one that is moved away;
`rearm` finds that out, and also watches what has newly appeared. Call it before each look at the
files and at every resync: first watch, then read, so that nothing falls between.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from damos_agent.agent.digest import digest_tree
from damos_agent.agent.watch_points import Points, matters
from damos_agent.model.settings import WatchMethod

POLL_S: Final = 2.0
ROUNDS: Final = 5
"""How often `rearm` looks again for directories that appeared while it was arming."""


@dataclass(frozen=True, slots=True)
class WatchFailure:
    """A directory that cannot be watched, and why."""

    path: str
    message: str


class Watcher(Protocol):
    """Calls `wake`, from a thread of its own, when configuration may have changed."""

    def rearm(self) -> tuple[WatchFailure, ...]:
        """Watch what there is now; returns what cannot be watched."""
        ...

    def stop(self) -> None:
        """End; `wake` is not called afterwards."""
        ...


def open_watcher(
    config_root: str,
    wake: Callable[[], None],
    method: WatchMethod = WatchMethod.INOTIFY,
    *,
    poll_s: float = POLL_S,
) -> Watcher:
    """A running watcher. `wake` must be safe to call from any thread (write to an eventfd)."""
    if method is WatchMethod.POLL:
        return PollWatcher(config_root, wake, poll_s=poll_s)
    from damos_agent.agent.inotify import InotifyWatcher

    return InotifyWatcher(config_root, wake)


class PollWatcher:
    """Compares digests every `poll_s` seconds: for file systems that tell nothing (NFS, FUSE)."""

    def __init__(
        self, config_root: str, wake: Callable[[], None], *, poll_s: float = POLL_S
    ) -> None:
        self._config_root = config_root
        self._wake = wake
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._digest, self._seen = digest_tree(config_root)
        self._thread = threading.Thread(target=self._run, name="config-poll", daemon=True)
        self._thread.start()

    def rearm(self) -> tuple[WatchFailure, ...]:
        """Nothing to do: paths are looked up anew each time."""
        return ()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            digest, self._seen = digest_tree(self._config_root, self._seen)
            if digest != self._digest:
                self._digest = digest
                self._wake()


def directory_identity(path: str) -> tuple[int, int] | None:
    """Device and inode of `path`; None if there is nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def interesting(points: Points, path: str) -> bool:
    """Whether an event about `path` may mean a change of configuration."""
    directory, name = os.path.split(path)
    return matters(points.get(directory, set()), name)
