"""sd_notify(3): telling systemd how the agent is, without libsystemd.

Silent when not started by systemd. A message that cannot be delivered is dropped: the agent's
work does not depend on its supervisor listening.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress


class Notifier:
    """Sends state changes to `address` (a path, or `@name` in the abstract namespace)."""

    def __init__(
        self, address: str = "", *, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._monotonic_ns = monotonic_ns

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Notifier:
        """The one systemd asks for in NOTIFY_SOCKET; else one that does nothing."""
        return cls(environ.get("NOTIFY_SOCKET", ""))

    @property
    def on(self) -> bool:
        """Whether anybody listens."""
        return self._address.startswith(("/", "\0"))

    def ready(self, status: str = "") -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. The time lets systemd tell it from earlier ones."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """Shutting down has begun."""
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(*_status(text))

    def watchdog(self) -> None:
        """The main loop is alive. Only the main loop may say so."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not (self.on and lines):
            return
        flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with suppress(OSError), socket.socket(socket.AF_UNIX, flags) as out:
            out.sendto("\n".join(lines).encode(), self._address)


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()


def watchdog_us(environ: Mapping[str, str], pid: int) -> int | None:
    """Microseconds within which systemd wants `watchdog`, or None; ping at half of it."""
    interval = environ.get("WATCHDOG_USEC", "")
    wanted = environ.get("WATCHDOG_PID", str(pid))
    if not interval.isdecimal() or int(interval) == 0 or wanted != str(pid):
        return None
    return int(interval)
