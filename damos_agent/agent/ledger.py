"""The ledger in /run and the lock that makes this the only agent. Survives a crash, not a boot."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass

from damos_agent.model.codec import decode, encode
from damos_agent.model.damon import Ledger
from damos_agent.model.errors import HostError, OwnershipError

STATE = "state.json"
LOCK = "lock"


def write_atomically(path: str, text: str, mode: int = 0o600) -> None:
    """Replace `path` so that a reader or a crash sees the old text or the new, never a part."""
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def load_ledger(run: str) -> Ledger:
    """The ledger below directory `run`; an empty one when there is none.

    Raises `OwnershipError` when it is there but makes no sense: guessing could stop somebody
    else's kdamond.
    """
    path = f"{run}/{STATE}"
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        if not isinstance(data, dict) or "boot_id" not in data:
            raise ValueError("it is no such record")
        return decode(Ledger, data)
    except FileNotFoundError:
        return Ledger()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OwnershipError(
            f"the record of our own kdamonds cannot be read: {error}",
            path=path,
            hint="if no agent's kdamond runs, remove the file",
        ) from error


def save_ledger(run: str, ledger: Ledger) -> None:
    """Keep `ledger` durably below directory `run`. Raises `HostError`."""
    path = f"{run}/{STATE}"
    try:
        write_atomically(path, json.dumps(encode(ledger)))
    except OSError as error:
        raise HostError(
            f"the record of our own kdamonds cannot be written: {error.strerror}",
            path=path,
            errno=error.errno,
            hint="make room there: without it a crash would leave kdamonds that nobody owns",
        ) from error


@dataclass(frozen=True, slots=True)
class AgentLock:
    """Held by the running agent; the kernel releases it however the process ends."""

    descriptor: int

    @staticmethod
    def take(run: str) -> AgentLock:
        """Take it or raise `OwnershipError` naming the other agent's pid. Raises `HostError`."""
        path = f"{run}/{LOCK}"
        try:
            return AgentLock._take(path)
        except OSError as error:
            raise HostError(
                f"the lock cannot be taken: {error.strerror}",
                path=path,
                errno=error.errno,
                hint="the directory must be ours to write, and not full",
            ) from error

    @staticmethod
    def _take(path: str) -> AgentLock:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise OwnershipError(
                f"another damos-agent is running (pid {other})",
                path=path,
                hint="stop it first, or give this one another --run-root",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return AgentLock(descriptor)

    def release(self) -> None:
        """Let another agent start."""
        os.close(self.descriptor)
