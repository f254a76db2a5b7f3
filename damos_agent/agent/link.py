"""The monitor process: started when a policy needs user space, ended when none does any more.

It is a child with its own interpreter, so that the agent keeps its size and its main loop where
nobody needs it, and so that sampling keeps its own time. Both ends speak lines of JSON over a
socket pair (`model.userspace`).
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from damos_agent.agent.events import Event, Logger, emit
from damos_agent.algo.backoff import Backoff
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.codec import decode, encode
from damos_agent.model.userspace import Ask, Message, Orders, Report, Work

PATIENCE_US = 120_000_000
"""A question unanswered for so long means that the monitor hangs."""
PATIENCE_BUSY_US = 10 * PATIENCE_US
"""While it wants to run, it is rather the machine that has no time for it."""
_SEND_S = 5.0
_INQUIRE_S = 2.0
_BUFFER = 1 << 20


def monitor_command(roots: Roots, descriptor: int) -> list[str]:
    """The monitor as this very interpreter runs it."""
    return [
        *(sys.executable, "-s", "-P", "-B", "-m", "damos_agent.userspace.worker"),
        *("--descriptor", str(descriptor)),
        *("--sysfs-root", roots.sysfs, "--proc-root", roots.proc),
        *("--cgroup-root", roots.cgroup, "--run-root", roots.run),
    ]


@dataclass(slots=True)
class _Child:
    """A running monitor process, our end of its socket, and what was read of an answer."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    pending: bytearray = field(default_factory=bytearray)


class MonitorLink:
    """One per agent. `report` is the last thing heard; `failure` why there is no monitor."""

    def __init__(
        self, roots: Roots, logger: Logger, is_busy: Callable[[int], bool] | None = None
    ) -> None:
        """`is_busy`: whether the process of that pid runs or waits for a processor."""
        self._is_busy = is_busy or _is_busy
        self._roots = roots
        self._logger = logger
        self._child: _Child | None = None
        self._orders = Orders()
        self._backoff = Backoff()
        self._asked = 0
        self._waiting_since: int | None = None
        self.report = Report(0)
        self.failure = ""

    @property
    def pid(self) -> int | None:
        """The monitor's process id."""
        return self._child.process.pid if self._child else None

    def fileno(self) -> int | None:
        """A descriptor that is readable when the monitor says something or has ended."""
        return self._child.socket.fileno() if self._child else None

    @property
    def works(self) -> tuple[Work, ...]:
        """What it was last told to do."""
        return self._orders.works

    @property
    def retry_us(self) -> int | None:
        """When a monitor that ended is to be started again, on the caller's clock."""
        dead = self._child is None and self._orders.works
        return self._backoff.until_us if dead else None

    def order(self, works: Sequence[Work], now_us: int) -> None:
        """From now on these, and nothing else. Starts or ends the monitor as needed."""
        orders = Orders(tuple(works))
        changed, self._orders = orders != self._orders, orders
        if not orders.works:
            self.failure = ""
            self._end("no policy needs it")
        elif self._child is None:
            if now_us >= self._backoff.until_us and self._start(now_us):
                self._send(orders, now_us)
                self.ask(now_us)
        elif changed:
            self._send(orders, now_us)
            self.ask(now_us)

    def ask(self, now_us: int, *, snapshots: bool = False) -> int:
        """Ask for a report; the number its answer will carry. A monitor that hangs is replaced."""
        if self._child is None:
            return self._asked
        if self._hangs(self._child.process.pid, now_us):
            self._lost("it did not answer", now_us)
            return self._asked
        self._asked += 1
        if self._waiting_since is None:
            self._waiting_since = now_us
        self._send(Ask(self._asked, snapshots), now_us)
        return self._asked

    def inquire(self, now_us: int) -> Report | None:
        """Ask for everything it knows, and wait for that, though not for long. For people only:
        nothing else is done meanwhile.
        """
        number = self.ask(now_us, snapshots=True)
        deadline = time.monotonic() + _INQUIRE_S
        while self._child is not None and self.report.number < number:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._child.socket], [], [], left)[0]:
                return None
            self.receive(now_us)
        return self.report if self._child is not None else None

    def silent_us(self, now_us: int) -> int:
        """How long a question has been without an answer."""
        return 0 if self._waiting_since is None else max(now_us - self._waiting_since, 0)

    def _hangs(self, pid: int, now_us: int) -> bool:
        waited_us = self.silent_us(now_us)
        return waited_us > PATIENCE_US and (waited_us > PATIENCE_BUSY_US or not self._is_busy(pid))

    def receive(self, now_us: int) -> bool:
        """Take what is there to read; whether a new report came or the monitor ended."""
        child = self._child
        if child is None:
            return False
        try:
            data = child.socket.recv(_BUFFER, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._lost(_ending(child.process), now_us)
            return True
        child.pending += data
        return self._take_lines(child, now_us)

    def _take_lines(self, child: _Child, now_us: int) -> bool:
        *lines, rest = bytes(child.pending).split(b"\n")
        child.pending = bytearray(rest)
        try:
            for line in lines:
                self.report = decode(Report, json.loads(line))
        except (ValueError, TypeError) as error:
            self._lost(f"its answer makes no sense: {error}", now_us)
            return True
        if lines:
            self._backoff, self.failure = Backoff(), ""
            if self.report.number >= self._asked:
                self._waiting_since = None
        return bool(lines)

    def close(self) -> None:
        """End the monitor."""
        self._orders = Orders()
        self._end("the agent stops")

    def _start(self, now_us: int) -> bool:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        ours.settimeout(_SEND_S)
        try:
            process = subprocess.Popen(
                monitor_command(self._roots, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        except OSError as error:
            ours.close()
            self._failed(f"it cannot be started: {error.strerror or error}", now_us)
            return False
        finally:
            theirs.close()
        self._child = _Child(process, ours)
        self._waiting_since = None
        self.report = Report(0)
        emit(self._logger, Event.MONITOR_STARTED, monitor_pid=process.pid)
        return True

    def _send(self, message: Message, now_us: int) -> None:
        if self._child is None:
            return
        try:
            self._child.socket.sendall(json.dumps(encode(message)).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            self._lost(_ending(self._child.process), now_us)
        except OSError as error:
            self._lost(f"it does not listen: {error.strerror or error}", now_us)

    def _lost(self, reason: str, now_us: int) -> None:
        child, self._child = self._child, None
        if child is not None:
            _kill(child)
        self.report = Report(0)
        self._failed(reason, now_us)

    def _failed(self, reason: str, now_us: int) -> None:
        self._backoff = self._backoff.failed(now_us)
        self.failure = f"the monitor process ended: {reason}"
        emit(self._logger, Event.MONITOR_ENDED, reason=reason, expected=False)

    def _end(self, reason: str) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.socket.close()
        try:
            child.process.wait(_SEND_S)
        except subprocess.TimeoutExpired:
            _kill(child)
        self.report = Report(0)
        self._backoff = Backoff()
        emit(self._logger, Event.MONITOR_ENDED, reason=reason, expected=True)


def _kill(child: _Child) -> None:
    child.socket.close()
    child.process.kill()
    with suppress(subprocess.TimeoutExpired):  # in the kernel, from where it does not return yet
        child.process.wait(_SEND_S)


def _is_busy(pid: int) -> bool:
    stat = read_stat(RealFilesystem(), Roots(), pid)
    return stat is not None and stat.state == "R"


def _ending(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(1.0)
    except subprocess.TimeoutExpired:
        return "it closed its socket"
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
