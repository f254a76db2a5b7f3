"""The monitor process: one thread that samples and acts for all policies served in user space.

    python -m damos_agent.userspace.worker --descriptor N [--proc-root … --run-root …]

It is told what to do over a socket and ends with it, or with its parent.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from damos_agent.algo.backoff import Backoff
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.codec import decode, encode
from damos_agent.model.errors import DamosError, UnsupportedError
from damos_agent.model.policy import Mode, Policy, ProbeChoice
from damos_agent.model.userspace import Ask, ContextReport, Message, Orders, Report, Work
from damos_agent.userspace.capable import is_group
from damos_agent.userspace.context import Context, Tools
from damos_agent.userspace.group_context import GroupContext
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.mapping_context import MappingContext
from damos_agent.userspace.monitor_lock import sweep_monitor_locks
from damos_agent.userspace.page_context import PageContext
from damos_agent.userspace.probe import Granularity

_PR_SET_PDEATHSIG: Final = 1
_CHUNK: Final = 1 << 16
_LONGEST_US: Final = 3_600_000_000
_PROVEN_US: Final = 600_000_000
"""What starts well and then fails is tried ever more rarely, until it has run for so long."""

AnyContext = Context | GroupContext


@dataclass(frozen=True, slots=True)
class _Refused:
    """A policy that cannot be served now; `backoff` says when it is tried again."""

    work: Work
    why: str
    backoff: Backoff


class Contexts:
    """The policies that are served, by name, and those that cannot be, with the reason."""

    def __init__(self, tools: Tools, ladder: Ladder) -> None:
        self._tools = tools
        self._ladder = ladder
        self._works: dict[str, Work] = {}
        self._running: dict[str, AnyContext] = {}
        self._refused: dict[str, _Refused] = {}
        self._stand_ins: dict[str, Backoff] = {}
        self._failures: dict[str, tuple[Policy, Backoff]] = {}
        self._accounted_ns = tools.cpu_ns()

    @property
    def due_us(self) -> int | None:
        """When the next one wants its turn."""
        times = [context.due_us for context in self._running.values()]
        times += [refused.backoff.until_us for refused in self._refused.values()]
        return min(times, default=None)

    def follow(self, orders: Orders, now_us: int) -> None:
        """Serve exactly these. What was learned of policies and processes that stay is kept."""
        self._works = {work.policy.name: work for work in orders.works}
        for name in self._running.keys() - self._works.keys():
            self._running.pop(name).close()
        for name in self._refused.keys() - self._works.keys():
            del self._refused[name]
        for name in self._stand_ins.keys() - self._works.keys():
            del self._stand_ins[name]
        for name, (policy, _) in tuple(self._failures.items()):
            if name not in self._works or self._works[name].policy != policy:
                del self._failures[name]
        for name, work in self._works.items():
            refused = self._refused.get(name)
            if refused is None or refused.work != work:
                self._try(work, now_us)

    def turn(self, now_us: Callable[[], int]) -> None:
        """Give everyone who is due their turn."""
        for refused in tuple(self._refused.values()):
            if refused.backoff.until_us <= now_us():
                self._try(refused.work, now_us(), again=True)
        for name, context in tuple(self._running.items()):
            if context.due_us > now_us():
                continue
            try:
                context.turn(now_us(), self._accounted_ns)
            except (DamosError, OSError) as error:
                # One policy's trouble, a lost privilege for instance, is not the others'.
                self._refuse(self._works[name], error, now_us(), running=True)
            else:
                self._stand_in_for(name, context, now_us())
                if (
                    name in self._failures
                    and self._failures[name][1].until_us < now_us() - _PROVEN_US
                ):
                    del self._failures[name]
            # Whoever comes next also pays for what is done in between.
            self._accounted_ns = self._tools.cpu_ns()

    def report(self, *, snapshots: bool) -> tuple[ContextReport, ...]:
        """How everyone fares."""
        running = [context.report(snapshot=snapshots) for context in self._running.values()]
        refused = [ContextReport(name, refused=one.why) for name, one in self._refused.items()]
        return (*running, *refused)

    def close(self) -> None:
        """Let go of everything."""
        self.follow(Orders(), 0)

    def _try(self, work: Work, now_us: int, *, again: bool = False) -> None:
        begun_ns = self._tools.cpu_ns()
        try:
            self._serve(work, again=again)
        except (DamosError, OSError) as error:
            self._refuse(work, error, now_us)
        else:
            self._refused.pop(work.policy.name, None)
        # Proving probes takes a second, once: no measure of what looking will take, and nobody's
        # budget, or the first look would be followed by minutes of silence.
        self._accounted_ns += self._tools.cpu_ns() - begun_ns

    def _refuse(self, work: Work, error: Exception, now_us: int, *, running: bool = False) -> None:
        """`running`: it started well, so that another start will tell nothing."""
        name = work.policy.name
        context = self._running.pop(name, None)
        if context is not None:
            context.close()
        before = self._refused.get(name)
        if running:
            _, known = self._failures.get(name, (work.policy, Backoff()))
            backoff = known.failed(now_us, _LONGEST_US)
            self._failures[name] = (work.policy, backoff)
        else:
            backoff = (before.backoff if before else Backoff()).failed(now_us)
        self._refused[name] = _Refused(work, str(error), backoff)

    def _serve(self, work: Work, *, again: bool) -> None:
        context = self._running.get(work.policy.name)
        if context is not None and not _needs_restart(context, work.policy):
            if context.policy != work.policy:
                context.edit(work.policy)
            context.retarget(work.processes)
            return
        if context is not None:
            again = again or _is_provisional(context)
            self._running.pop(work.policy.name).close()
        self._running[work.policy.name] = self._start(work, again=again)

    def _start(self, work: Work, *, again: bool) -> AnyContext:
        wanted = work.policy.monitoring.userspace.probe
        if wanted is ProbeChoice.MEMCG:
            return self._start_group(work, again=again)
        try:
            probe = self._ladder.choose(wanted, again=again)
        except UnsupportedError as error:
            if wanted is not ProbeChoice.AUTO or not is_group(work.policy):
                raise
            return self._start_stand_in(work, error, again=again)
        if probe.info.granularity is Granularity.PAGE:
            return PageContext(work, probe, self._tools)  # type: ignore[arg-type]
        return MappingContext(work, probe, self._tools)  # type: ignore[arg-type]

    def _start_group(self, work: Work, *, again: bool) -> GroupContext:
        """Where ages cannot be told, an enforcing policy that names the probe goes on blindly."""
        try:
            ages = self._ladder.choose(ProbeChoice.MEMCG, again=again)
        except UnsupportedError as error:
            if work.policy.mode is not Mode.ENFORCE:
                raise
            return GroupContext(work, None, self._tools, str(error))
        return GroupContext(work, ages, self._tools)  # type: ignore[arg-type]

    def _start_stand_in(self, work: Work, why: UnsupportedError, *, again: bool) -> GroupContext:
        try:
            ages = self._ladder.choose(ProbeChoice.MEMCG, again=again)
            return GroupContext(work, ages, self._tools, str(why))  # type: ignore[arg-type]
        except DamosError as error:
            raise UnsupportedError(f"{why}; the cgroup as a whole: {error}") from error

    def _stand_in_for(self, name: str, context: AnyContext, now_us: int) -> None:
        """Serve a cgroup as a whole when none of its processes can be watched."""
        policy = context.policy
        auto = policy.monitoring.userspace.probe is ProbeChoice.AUTO
        if isinstance(context, GroupContext) or not (auto and is_group(policy)):
            return
        backoff = self._stand_ins.get(name, Backoff())
        if not context.watched.all_left_out or now_us < backoff.until_us:
            return
        why = UnsupportedError("; ".join(dict.fromkeys(context.watched.left_out.values())))
        again = backoff.failures > 0
        try:
            self._running[name] = self._start_stand_in(self._works[name], why, again=again)
        except (DamosError, OSError):
            self._stand_ins[name] = backoff.failed(now_us)
            return
        self._stand_ins.pop(name, None)
        context.close()


def _needs_restart(context: AnyContext, new: Policy) -> bool:
    """Another probe sees other things: what was learned with the one before is of no use.

    A stand-in gives way to a better probe, if that now works, at the next edit.
    """
    old = context.policy
    if _is_provisional(context) and old != new:
        return True
    return old.monitoring.userspace.probe is not new.monitoring.userspace.probe


def _is_provisional(context: AnyContext) -> bool:
    return isinstance(context, GroupContext) and context.provisional


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
        return [_understand(line) for line in lines]

    def say(self, report: Report) -> None:
        """Answer."""
        self._socket.sendall(json.dumps(encode(report)).encode() + b"\n")


def _understand(line: bytes) -> Message:
    try:
        return decode(Message, json.loads(line))  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ConnectionAbortedError(f"what was said makes no sense: {error}") from error


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
                    contexts.follow(message, _now_us())
                case Ask():
                    contexts.turn(_now_us)  # so that new orders have come to something
                    found = contexts.report(snapshots=message.snapshots)
                    line.say(Report(message.number, found, ladder.rungs()))
        contexts.turn(_now_us)


def _now_us() -> int:
    return time.monotonic_ns() // 1_000


def _die_with_parent() -> None:
    """No orphan goes on acting after the agent was killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _raise_descriptor_limit() -> None:
    """Each process that is watched takes seven, and select(2) is asked only about the first."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _end(*_: object) -> None:
    sys.exit(0)  # by way of everything that is to be given back


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
    signal.signal(signal.SIGTERM, _end)
    _raise_descriptor_limit()
    connection = socket.socket(fileno=arguments.descriptor)
    roots = Roots(
        arguments.sysfs_root,
        arguments.proc_root,
        arguments.cgroup_root,
        run=arguments.run_root,
    )
    fs = RealFilesystem()
    sweep_monitor_locks(roots.run)
    ladder = Ladder(fs, roots)
    rng = Random(os.urandom(16))  # noqa: S311 - which page is looked at is no secret
    tools = Tools(fs, roots, Effects(fs, roots), rng, ages=ladder.readable_ages)
    contexts = Contexts(tools, ladder)
    try:
        run(Line(connection), contexts, ladder)
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the agent has gone
    except ConnectionAbortedError as error:
        sys.stderr.write(f"damos-agent monitor: {error}\n")
        return 2
    finally:
        contexts.close()
        ladder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
