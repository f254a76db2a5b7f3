# SPDX-License-Identifier: Apache-2.0
"""The monitor process as the agent runs it, asked and measured by a benchmark."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from damos_agent.agent.link import monitor_command
from damos_agent.host.roots import Roots
from damos_agent.model.codec import decode, encode
from damos_agent.model.policy import (
    Action,
    Monitoring,
    PidTarget,
    Policy,
    ProbeChoice,
    Scheme,
    Userspace,
)
from damos_agent.model.userspace import Ask, ContextReport, Message, Orders, Report, Work
from tests.bench.footprint import read_cpu_s
from tests.load.load import Load

PROJECT = Path(__file__).parents[2]
_WAIT_S = 120.0
_TRIES = 4
_FAILED = "fails its test"


def watching(name: str, probe: str, loads: Sequence[Load], cpu_bp: int = 100) -> Work:
    """A policy that looks at these loads with that probe and does nothing to them."""
    monitoring = Monitoring(userspace=Userspace(ProbeChoice(probe), cpu_bp))
    pids = tuple(load.pid for load in loads)
    policy = Policy(name, PidTarget(pids), (Scheme(Action.STAT),), monitoring=monitoring)
    return Work(policy, tuple(load.placement() for load in loads))


class Monitor:
    """Runs for as long as the block; `freeze` stops it with all it knows, `thaw` goes on."""

    def __init__(self, works: Sequence[Work]) -> None:
        with ExitStack() as stack:
            run = stack.enter_context(TemporaryDirectory(prefix="bench-monitor-"))
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            with theirs:
                words = monitor_command(replace(Roots(), run=run), theirs.fileno())
                # Without -P: it is to be this checkout's.
                words = [word for word in words if word != "-P"]
                self._process = subprocess.Popen(words, cwd=PROJECT, pass_fds=(theirs.fileno(),))
            stack.callback(self._end)
            ours.settimeout(_WAIT_S)
            self._socket, self._lines = ours, ours.makefile("r")
            self._asked = 0
            self._say(Orders(tuple(works)))
            self._opened = stack.pop_all()

    def report(self, *, snapshots: bool = False) -> tuple[ContextReport, ...]:
        """How its policies fare."""
        self._asked += 1
        self._say(Ask(self._asked, snapshots))
        line = self._lines.readline()
        if not line:
            raise RuntimeError(f"the monitor ended with {self._process.wait()}")
        answer: Report = decode(Report, json.loads(line))
        return answer.contexts

    def cpu_s(self) -> float:
        """What all its threads took of the CPU so far."""
        return read_cpu_s(self._process.pid)

    def freeze(self) -> None:
        """Nothing happens until `thaw`."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on; what has become due meanwhile is done once, at once."""
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def _say(self, message: Message) -> None:
        self._socket.sendall(json.dumps(encode(message)).encode() + b"\n")

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def proven(works: Sequence[Work]) -> Iterator[tuple[Monitor, int]]:
    """A monitor whose probe has passed its test, and how many before it had not.

    On a busy machine the test of a probe may fail by chance, after which its monitor stays without.
    """
    for number in range(_TRIES):
        with Monitor(works) as monitor:
            failed = any(_FAILED in report.refused for report in monitor.report())
            if not failed or number == _TRIES - 1:
                yield monitor, number
                return
