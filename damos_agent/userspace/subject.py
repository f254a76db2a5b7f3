"""A process held fast: descriptors that cannot come to mean another one when its pid is reused."""

from __future__ import annotations

import errno
import os
import select
from contextlib import ExitStack
from typing import Final

from damos_agent.host.filesystem import Filesystem
from damos_agent.host.pagemap import Pagemap
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError

_NOBODY: Final = frozenset({errno.ESRCH, errno.EINVAL, errno.ENOENT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})


class Subject:
    """`pidfd`, the directory /proc/PID, and the `pagemap` of the memory it has now.

    Raises `ProcessLookupError` when it has gone, `HostError` when it may not be looked at.
    """

    def __init__(self, fs: Filesystem, roots: Roots, process: Placement) -> None:
        with ExitStack() as stack:
            self.pidfd = _open_pidfd(process.pid)
            stack.callback(os.close, self.pidfd)
            self.directory = _open_directory(f"{roots.proc}/{process.pid}")
            stack.callback(os.close, self.directory)
            stat = read_stat(fs, roots, process.pid)
            # Alive after all was opened: until here the pid cannot have become another's.
            if stat is None or stat.start_ticks != process.start_ticks or self.has_exited():
                raise ProcessLookupError(errno.ESRCH, f"process {process.pid} has gone")
            self.pagemap = self.open_pagemap()
            stack.callback(self.pagemap.close)
            self._fs, self._roots, self._process = fs, roots, process
            self._image = stat.image
            self._maps = -1
            self.check_same_program()  # else the pagemap may be that of a later one
            self._opened = stack.pop_all()

    def open_pagemap(self) -> Pagemap:
        """The pagemap of the memory it has at this moment. Raises as the constructor."""
        try:
            return Pagemap(0, directory=self.directory)
        except OSError as error:
            if error.errno not in _FORBIDDEN:
                raise
            raise HostError(
                "the pages of this process may not be looked at",
                errno=error.errno,
                hint="run as root, or with CAP_SYS_PTRACE",
            ) from error

    def open_maps(self) -> int:
        """A descriptor of its maps, opened when first asked for. Raises `ProcessLookupError`."""
        if self._maps < 0:
            try:
                self._maps = os.open("maps", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directory)
            except FileNotFoundError as error:
                raise ProcessLookupError(errno.ESRCH, "the process has gone") from error
            self._opened.callback(os.close, self._maps)
        return self._maps

    def check_same_program(self) -> None:
        """`ProcessLookupError` when the process has gone or runs another program; 10 µs."""
        stat = read_stat(self._fs, self._roots, self._process.pid)
        if stat is None or not stat.alive or stat.start_ticks != self._process.start_ticks:
            raise ProcessLookupError(errno.ESRCH, "the process has gone")
        if stat.image != self._image:
            raise ProcessLookupError(errno.ESRCH, "the process runs another program")

    def has_exited(self) -> bool:
        """Whether its last thread has ended."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Give back all descriptors; may be called again."""
        self._opened.close()


def _open_pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in _NOBODY:
            raise ProcessLookupError(errno.ESRCH, f"process {pid} has gone") from error
        raise


def _open_directory(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, "the process has gone") from error
