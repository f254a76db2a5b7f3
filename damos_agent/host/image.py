"""A process as long as it runs one program: its /proc files, bound to the memory they tell of.

smaps and pagemap stay with the address space they were opened on; once that has gone, by exit or
by execve(2), they are empty. Files of the directory are those of the process, whatever becomes of
its pid. So neither another process nor another program is ever taken for this one.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from damos_agent.host.filesystem import GONE
from damos_agent.host.process import Stat, parse_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError

_CHUNK: Final = 1 << 16
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
_READING: Final = "run as root, or with CAP_SYS_PTRACE"
_OWNING: Final = (
    "run as root or as the process's owner, or with CAP_SYS_PTRACE and CAP_DAC_OVERRIDE"
)


class ProcessImage:
    """The open files of one process. Every method raises `ProcessLookupError` once it has exited
    or called exec, `HostError` where a privilege is missing.

    An address space may outlive an execve where another process shares it (vfork). Then only the
    addresses of code and stack tell, which they do unless their randomisation is off and program,
    arguments and environment are the same.
    """

    def __init__(self, roots: Roots, process: Placement) -> None:
        self.process = process
        self._path = f"{roots.proc}/{process.pid}"
        self._descriptors: list[int] = []
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._directory = self._keep(self._path, _READING, os.O_DIRECTORY)
        self._smaps = self._keep("smaps", _READING, dir_fd=self._directory)
        self.pagemap = self._keep("pagemap", _OWNING, dir_fd=self._directory)
        # After the others were opened: another's pid would show by its start time here.
        stat = self._stat()
        if stat.start_ticks != self.process.start_ticks:
            self._gone()
        self._seen = _told(stat)
        self.check()

    def _keep(self, name: str, hint: str, flags: int = 0, dir_fd: int | None = None) -> int:
        with self._errors(name, hint):
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=dir_fd)
        self._descriptors.append(descriptor)
        return descriptor

    def check(self) -> None:
        """Return if it still runs the program it ran when this was opened."""
        with self._errors("pagemap", _OWNING):
            there = os.pread(self.pagemap, 8, 0)
        if not there or _told(self._stat()) != self._seen:
            self._gone()

    def check_writable(self, name: str) -> None:
        """Return if file `name` of the process may be written."""
        with self._errors(name, _OWNING):
            os.close(os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._directory))

    def write(self, name: str, text: str) -> int:
        """Hand `text` to file `name`; the time write(2) took, in µs."""
        with self._errors(name, _OWNING):
            descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._directory)
            try:
                began = time.perf_counter_ns()
                os.write(descriptor, text.encode())
                return (time.perf_counter_ns() - began) // 1000
            finally:
                os.close(descriptor)

    def read(self, name: str) -> str:
        """The text of a small file of the process."""
        with self._errors(name, _READING):
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
            try:
                text = b"".join(iter(lambda: os.read(descriptor, _CHUNK), b""))
            finally:
                os.close(descriptor)
        return text.decode("utf-8", "replace")

    def read_smaps(self) -> tuple[bytes, int]:
        """All of smaps, and the longest read(2) of it in µs: the lock is let go between them."""
        chunks: list[bytes] = []
        longest = 0
        with self._errors("smaps", _READING):
            os.lseek(self._smaps, 0, os.SEEK_SET)
            while True:
                began = time.perf_counter_ns()
                chunk = os.read(self._smaps, _CHUNK)
                longest = max(longest, time.perf_counter_ns() - began)
                if not chunk:
                    break
                chunks.append(chunk)
        self.check()
        return b"".join(chunks), longest // 1000

    def close(self) -> None:
        """Give back descriptors; may be called again."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _stat(self) -> Stat:
        text = self.read("stat")
        if not text:
            self._gone()
        return parse_stat(text)

    def _gone(self) -> NoReturn:
        raise ProcessLookupError(
            errno.ESRCH, f"process {self.process.pid} has exited or called exec"
        )

    @contextmanager
    def _errors(self, name: str, hint: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in GONE:
                self._gone()
            if error.errno not in _FORBIDDEN:
                raise
            raise HostError(
                f"process {self.process.pid} is not ours to watch",
                path=os.path.join(self._path, name),
                errno=error.errno,
                hint=hint,
            ) from error


def _told(stat: Stat) -> tuple[str, ...]:
    """Code and stack: processes rename themselves and move their arguments, but never these."""
    return stat.image[:2]
