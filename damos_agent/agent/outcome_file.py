"""Outcome records in a file: one JSON object per line, turned over when it has grown.

By hand, since `logging.handlers` is half a MiB resident.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass

NAME = "outcomes.jsonl"
"""Below the run directory, where no other file is named."""


@dataclass(slots=True)
class OutcomeFile:
    """`keep` older files stay, as `path.1` and so on; together `keep + 1` times `most_bytes`."""

    path: str
    most_bytes: int
    keep: int

    def append(self, line: str) -> None:
        """One more record; raises `OSError`, and then nothing of it is written."""
        data = line.encode() + b"\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and size + len(data) > self.most_bytes:
                self._turn()
                fresh = os.open(self.path, flags, 0o644)
                os.close(descriptor)
                descriptor, size = fresh, 0
            if os.write(descriptor, data) != len(data):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        finally:
            os.close(descriptor)

    def _turn(self) -> None:
        if self.keep == 0:
            os.unlink(self.path)
            return
        for number in range(self.keep - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.replace(self.path, f"{self.path}.1")


def files_of(path: str) -> list[str]:
    """The file and its predecessors that are there, oldest first."""
    found = [path] if os.path.exists(path) else []
    number = 1
    while os.path.exists(f"{path}.{number}"):
        found.insert(0, f"{path}.{number}")
        number += 1
    return found
