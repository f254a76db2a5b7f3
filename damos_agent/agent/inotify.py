"""The watcher on inotify, by way of watchdog."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

import watchdog.events
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import ObservedWatch
from watchdog.observers.inotify import InotifyObserver

from damos_agent.agent.watch_points import Points, watch_points
from damos_agent.agent.watcher import ROUNDS, WatchFailure, directory_identity, interesting

# Opening and closing without writing are left out: our own reads would wake us for ever.
EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
# Since watchdog 7 chmod and chown have events of their own.
_ATTRIB: tuple[type[FileSystemEvent], ...] = tuple(
    getattr(watchdog.events, name)
    for name in ("FileAttribEvent", "DirAttribEvent")
    if hasattr(watchdog.events, name)
)
# Before, those of a directory are told like any change of an entry; see `on_any_event`.
EVENTS += _ATTRIB or (DirModifiedEvent,)

Rights = tuple[int, int, int]
"""Mode, owner and group."""


@dataclass(frozen=True, slots=True)
class _Armed:
    watch: ObservedWatch
    identity: tuple[int, int] | None


class InotifyWatcher(FileSystemEventHandler):
    """Watches the directories of `watch_points`, one by one and not what lies below them."""

    def __init__(self, config_root: str, wake: Callable[[], None]) -> None:
        self._config_root = config_root
        self._wake = wake
        self._points: Points = {}
        self._armed: dict[str, _Armed] = {}
        self._gone: set[str] = set()
        self._rights: dict[str, Rights | None] = {}
        self._observer = InotifyObserver()
        self._observer.start()
        self.rearm()

    def rearm(self) -> tuple[WatchFailure, ...]:
        """Watch what there is now; returns what cannot be watched."""
        failures: dict[str, WatchFailure] = {}
        for _ in range(ROUNDS):
            points = watch_points(self._config_root)
            self._points = points
            self._rights = {path: directory_rights(path) for path in _directories(points)}
            self._release(points)
            missing = [path for path in points if path not in self._armed]
            failures = {path: failure for path in missing if (failure := self._arm(path))}
            if not missing:
                break
        return tuple(failures.values())

    def stop(self) -> None:
        """End watchdog's threads."""
        self._points = {}
        self._observer.stop()
        self._observer.join()

    @property
    def watched(self) -> frozenset[str]:
        """The directories watched now."""
        return frozenset(self._armed)

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog, in its thread."""
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        if isinstance(event, DirModifiedEvent):
            # Said of a directory whenever an entry of it changes, which has an event of its own.
            paths = [path for path in paths if self._has_other_rights(path)]
        if isinstance(event, DirDeletedEvent):
            # Said of a watched directory itself, this is the last thing its emitter says.
            self._gone.update(path for path in paths if path in self._points)
        own = isinstance(event, (DirModifiedEvent, *_ATTRIB))
        matter = (interesting(self._points, p) or (own and p in self._points) for p in paths)
        if any(matter) or self._gone:
            self._wake()

    def _has_other_rights(self, path: str) -> bool:
        known = self._rights.get(path)
        now = directory_rights(path)
        if path not in self._rights or now == known:
            return False
        self._rights[path] = now
        return True

    def _release(self, points: Points) -> None:
        alive = {emitter.watch for emitter in self._observer.emitters if emitter.is_alive()}
        for path, armed in list(self._armed.items()):
            lost = armed.watch not in alive or armed.identity != directory_identity(path)
            if lost or path in self._gone or path not in points:
                self._gone.discard(path)
                self._observer.unschedule(armed.watch)
                del self._armed[path]

    def _arm(self, path: str) -> WatchFailure | None:
        identity = directory_identity(path)
        try:
            watch = self._observer.schedule(self, path, event_filter=EVENTS)
        except OSError as error:
            hint = " (raise fs.inotify.max_user_watches)" if error.errno == errno.ENOSPC else ""
            return WatchFailure(path, f"{error.strerror or error}{hint}")
        self._armed[path] = _Armed(watch, identity)
        return None


def _directories(points: Points) -> set[str]:
    """Those watched, and those entries of them that matter."""
    return {*points, *(os.path.join(where, n) for where, names in points.items() for n in names)}


def directory_rights(path: str) -> Rights | None:
    """Who may do what with a directory; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mode, status.st_uid, status.st_gid) if stat.S_ISDIR(status.st_mode) else None
