"""The Filesystem seam: everything the project reads or writes on a machine goes through it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Final, Protocol

GONE: Final = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV})
"""What /proc and cgroups answer once the process or cgroup has gone, even on an open file."""


_CHUNK: Final = 1 << 14


class Filesystem(Protocol):
    """Text files by absolute path. Every method raises `OSError` as the system call would."""

    def read(self, path: str) -> str:
        """The whole text of `path`, undecodable bytes replaced."""
        ...

    def write(self, path: str, text: str) -> None:
        """Hand `text` to `path` in one write(2); the kernel's errno comes back as `OSError`."""
        ...

    def listdir(self, path: str) -> list[str]:
        """Names in directory `path`, in no order."""
        ...

    def exists(self, path: str) -> bool:
        """Whether `path` is there."""
        ...

    def readlink(self, path: str) -> str:
        """What the symbolic link `path` names."""
        ...


class RealFilesystem:
    """The machine's own files."""

    def read(self, path: str) -> str:
        """Read with one open; sysfs and proc files give their text in few reads."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            chunks = []
            while chunk := os.read(descriptor, 1 << 16):
                chunks.append(chunk)
        finally:
            os.close(descriptor)
        return b"".join(chunks).decode("utf-8", "replace")

    def write(self, path: str, text: str) -> None:
        """One unbuffered write: a buffered file would report the kernel's refusal at close."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def listdir(self, path: str) -> list[str]:
        """Names in `path`."""
        return os.listdir(path)

    def exists(self, path: str) -> bool:
        """Whether `path` is there (and may be seen)."""
        return os.path.exists(path)

    def readlink(self, path: str) -> str:
        """The target of a link."""
        return os.readlink(path)


def read_if_there(fs: Filesystem, path: str) -> str | None:
    """The text of `path`, or None once the thing it tells of has gone; other errors as `read`."""
    try:
        return fs.read(path)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise


class KeptFile:
    """A file of /proc that is read again and again: kept open it costs half or less.

    What was opened goes on telling of the same thing, so it is only for files of the machine.
    Raises `OSError` as `Filesystem.read`.
    """

    def __init__(self, fs: Filesystem, path: str) -> None:
        self._fs = fs
        self._path = path
        self._descriptor: int | None = None
        self._read = self._kept if isinstance(fs, RealFilesystem) else self._plain

    def read(self) -> str:
        """The whole text now."""
        return self._read()

    def close(self) -> None:
        """Give the descriptor back; the next read opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)

    def _plain(self) -> str:
        return self._fs.read(self._path)

    def _kept(self) -> str:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        # The kernel hands out a page at most at a time, and nothing at the end.
        text = b""
        while data := os.pread(self._descriptor, _CHUNK, len(text)):
            text += data
        return text.decode("ascii", "replace")
