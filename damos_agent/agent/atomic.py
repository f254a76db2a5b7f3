"""Replacing a file as a whole: readers see the old text or the new one, never a part."""

from __future__ import annotations

import os
from contextlib import suppress


def write_atomic(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Make `path` hold `data`, with permissions `mode`; raises `OSError`, leaving no litter.

    Not synced to disk: what we write so is rebuilt after a crash of the machine.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
        os.rename(temporary, path)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
