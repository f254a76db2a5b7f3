"""The monitor process: one thread that samples and acts for all policies served in user space.

    python -m damos_agent.userspace.worker --descriptor N [--proc-root … --run-root …]

It is told what to do over a socket and ends with it, or with its parent.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Final

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.codec import decode, encode
from damos_agent.model.errors import DamosError
from damos_agent.model.policy import Policy
from damos_agent.model.userspace import Ask, ContextReport, Message, Orders, Report, Work
from damos_agent.userspace.context import Context, Tools
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.mapping_context import MappingContext
from damos_agent.userspace.monitor_lock import sweep_monitor_locks
from damos_agent.userspace.page_context import PageContext
from damos_agent.userspace.probe import Granularity

_PR_SET_PDEATHSIG: Final = 1
_CHUNK: Final = 1 << 16


class Contexts:
    """The policies that are served, by name, and those that cannot be, with the reason."""

    def __init__(self, tools: Tools, ladder: Ladder) -> None:
        self._tools = tools
        self._ladder = ladder
        self._running: dict[str, Context] = {}
        self._refused: dict[str, str] = {}

    @property
    def due_us(self) -> int | None:
        """When the next one wants its turn."""
        return min((context.due_us for context in self._running.values()), default=None)

    def follow(self, orders: Orders) -> None:
        """Serve exactly these. What was learned of policies and processes that stay is kept."""
        wanted = {work.policy.name: work for work in orders.works}
        for name in set(self._running) - set(wanted):
            self._running.pop(name).close()
        self._refused.clear()
        for work in wanted.values():
            try:
                self._serve(work)
            except (DamosError, OSError) as error:
                self._refused[work.policy.name] = str(error)

    def turn(self, now_us: Callable[[], int]) -> None:
        """Give everyone who is due their turn."""
        for name, context in tuple(self._running.items()):
            if context.due_us > now_us():
                continue
            try:
                context.turn(now_us())
            except (DamosError, OSError) as error:
                # One policy's trouble, a lost privilege for instance, is not the others'.
                self._running.pop(name).close()
                self._refused[name] = str(error)

    def report(self, *, snapshots: bool) -> tuple[ContextReport, ...]:
        """How everyone fares."""
        running = [context.report(snapshot=snapshots) for context in self._running.values()]
        refused = [ContextReport(name, refused=why) for name, why in self._refused.items()]
        return (*running, *refused)

    def close(self) -> None:
        """Let go of everything."""
        self.follow(Orders())

    def _serve(self, work: Work) -> None:
        context = self._running.get(work.policy.name)
        if context is not None and not _needs_restart(context.policy, work.policy):
            if context.policy != work.policy:
                context.edit(work.policy)
            context.retarget(work.processes)
            return
        if context is not None:
            self._running.pop(work.policy.name).close()
        self._running[work.policy.name] = self._start(work)

    def _start(self, work: Work) -> Context:
        probe = self._ladder.choose(work.policy.monitoring.userspace.probe)
        if probe.info.granularity is Granularity.PAGE:
            return PageContext(work, probe, self._tools)  # type: ignore[arg-type]
        return MappingContext(work, probe, self._tools)  # type: ignore[arg-type]


def _needs_restart(old: Policy, new: Policy) -> bool:
    """Another probe sees other things: what was learned with the one before is of no use."""
    return old.monitoring.userspace.probe is not new.monitoring.userspace.probe


class Line:
    """Our end of the socket: whole messages in, whole messages out."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._pending = bytearray()

    def wait(self, seconds: float | None) -> list[Message] | None:
        """What has been said by then; None once nobody listens any more."""
        ready, _, _ = select.select([self._socket], [], [], seconds)
        if not ready:
            return []
        data = self._socket.recv(_CHUNK)
        if not data:
            return None
        self._pending += data
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        return [decode(Message, json.loads(line)) for line in lines]  # type: ignore[arg-type]

    def say(self, report: Report) -> None:
        """Answer."""
        self._socket.sendall(json.dumps(encode(report)).encode() + b"\n")


def run(line: Line, contexts: Contexts, ladder: Ladder) -> None:
    """Until the other end closes."""
    while True:
        due_us = contexts.due_us
        wait_s = None if due_us is None else max(due_us - _now_us(), 0) / 1e6
        said = line.wait(wait_s)
        if said is None:
            return
        for message in said:
            match message:
                case Orders():
                    contexts.follow(message)
                case Ask():
                    found = contexts.report(snapshots=message.snapshots)
                    line.say(Report(message.number, found, ladder.rungs()))
        contexts.turn(_now_us)


def _now_us() -> int:
    return time.monotonic_ns() // 1_000


def _die_with_parent() -> None:
    """No orphan goes on acting after the agent was killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="damos-agent monitor")
    parser.add_argument("--descriptor", type=int, required=True)
    roots = Roots()
    parser.add_argument("--sysfs-root", default=roots.sysfs)
    parser.add_argument("--proc-root", default=roots.proc)
    parser.add_argument("--cgroup-root", default=roots.cgroup)
    parser.add_argument("--run-root", default=roots.run)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve the socket of that descriptor."""
    _die_with_parent()
    arguments = _parse(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the agent's, and it tells us
    connection = socket.socket(fileno=arguments.descriptor)
    roots = Roots(
        arguments.sysfs_root,
        arguments.proc_root,
        arguments.cgroup_root,
        run=arguments.run_root,
    )
    fs = RealFilesystem()
    sweep_monitor_locks(roots.run)
    tools = Tools(fs, roots, Effects(fs, roots), Random(os.urandom(16)))  # noqa: S311 - which page is looked at is no secret
    ladder = Ladder(fs, roots)
    contexts = Contexts(tools, ladder)
    try:
        run(Line(connection), contexts, ladder)
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the agent has gone
    finally:
        contexts.close()
        ladder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
