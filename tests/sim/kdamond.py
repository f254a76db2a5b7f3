"""One kdamond: its thread and the commands of its `state` file (sysfs-abi §4, §5, §7)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.sim import status
from tests.sim.context import RunningContext
from tests.sim.errors import KernelPanicError, refuse
from tests.sim.host import Host
from tests.sim.staged import goals, read_context
from tests.sim.status import Config, configuration
from tests.sim.tree import Dir
from tests.sim.versions import COMMANDS, Behaviour, Version, known


@dataclass(frozen=True, slots=True)
class Machine:
    """What a kdamond needs of its surroundings; `wait(until)` lets all time pass to `until` µs."""

    host: Host
    version: Version
    rules: Behaviour
    now: Callable[[], int]
    wait: Callable[[int], None]
    exclusive_module: Callable[[], bool]


class Kdamond:
    """A `kdamonds/K` directory and, once started, its thread."""

    def __init__(self, directory: Dir, machine: Machine) -> None:
        self.dir, self.machine = directory, machine
        self.context: RunningContext | None = None
        self.thread: int | None = None
        self.config: Config = {}
        self.next_refresh = 0
        self.left_behind: set[str] = set()

    def running(self) -> bool:
        """Whether the thread exists; notices that the last target died."""
        if self.thread is not None and self.context is not None and not self.context.alive():
            self._end()
        return self.thread is not None

    def show(self) -> None:
        """Bring `state` and `pid` up to date."""
        running = self.running()
        self.dir.values["state"] = "on" if running else "off"
        self.dir.values["pid"] = str(self.thread if running else -1)

    def _end(self) -> None:
        self.thread, self.config = None, {}
        if self.context is not None:
            self.context.targets = []

    def command(self, text: str) -> None:
        """Do what was written to `state`."""
        word = text.removesuffix("\n")
        machine = self.machine
        if word not in known(COMMANDS, machine.version):
            raise refuse(errno.EINVAL)
        if word == "off":
            self._off()
            return
        if len(self.dir.at("contexts").numbered()) != 1:
            raise refuse(errno.EINVAL)
        if word == "on":
            self._on()
        elif word == "clear_schemes_tried_regions" and machine.rules.clear_when_off:
            status.clear_tried(self.staged())
        else:
            self._ask(word)

    def staged(self) -> Dir:
        """The staged context directory."""
        return self.dir.at("contexts/0")

    def _on(self) -> None:
        machine = self.machine
        if self.running():
            raise refuse(errno.EBUSY)
        self.context = None
        self.left_behind.clear()
        spec = read_context(self.staged(), machine.host, machine.version)
        if machine.exclusive_module():
            raise refuse(errno.EBUSY)
        self.context = RunningContext(spec, machine.host, machine.version, machine.rules)
        self.context.start(machine.now())
        self.thread = machine.host.new_thread()
        self.next_refresh = machine.now()
        self.config = configuration(self.staged())

    def _off(self) -> None:
        if self.context is None:
            raise refuse(errno.EINVAL)
        if not self.running() and not self.machine.rules.off_is_idempotent:
            raise refuse(errno.EPERM)
        self._end()

    def _ask(self, word: str) -> None:
        """Hand `word` to the running thread."""
        running = self.running()
        if self.context is None:
            raise refuse(errno.EINVAL)
        if not running:
            raise self._dead(word)
        if word == "commit":
            self._commit(self.context)
        elif word == "commit_schemes_quota_goals":
            self._commit_goals(self.context)
        elif word.startswith("update_schemes_tried"):
            self._update_tried(self.context, shown=word.endswith("regions"))
        elif word == "clear_schemes_tried_regions":
            status.clear_tried(self.staged())
        else:
            self._update(word, self.context)

    def _dead(self, word: str) -> BaseException:
        """The answer of a thread that has ended; some releases keep the request queued."""
        rules = self.machine.rules
        if not rules.dead_requests_stay or (word == "commit" and rules.commit_lies):
            return refuse(errno.ECANCELED if rules.dead_is_cancelled else errno.EINVAL)
        queue = "walk" if word.startswith("update_schemes_tried") else "call"
        if queue not in self.left_behind:
            self.left_behind.add(queue)
            return refuse(errno.EINVAL)
        if rules.dead_requests_corrupt and queue == "call":
            return KernelPanicError(word)
        return refuse(errno.EBUSY)

    def _update(self, word: str, context: RunningContext) -> None:
        if word == "update_schemes_stats":
            status.show_stats(self.staged(), context.schemes)
        elif word == "update_schemes_effective_quotas":
            status.show_effective(self.staged(), context.schemes)
        else:
            status.show_intervals(self.staged(), context.attrs)

    def _commit(self, context: RunningContext) -> None:
        """≤ 6.14 says nothing of a failure and ends the thread; later ones refuse and live on."""
        machine = self.machine
        try:
            spec = read_context(self.staged(), machine.host, machine.version)
            if machine.version >= (6, 19):
                context.check(spec)
        except OSError:
            if not machine.rules.commit_lies:
                raise
            self._end()
            return
        context.commit(spec)
        self.config = configuration(self.staged(), commit=True)

    def _commit_goals(self, context: RunningContext) -> None:
        host, physical = self.machine.host, context.spec.operations == "paddr"
        try:
            found = [
                goals(scheme, host, physical=physical)
                for scheme in self.staged().at("schemes").numbered()
            ]
        except OSError:
            raise refuse(errno.EINVAL) from None
        context.commit_goals(found)
        mark = "/quotas/goals/"
        kept = {path: value for path, value in self.config.items() if mark not in path}
        new = configuration(self.staged())
        self.config = kept | {path: value for path, value in new.items() if mark in path}

    def _update_tried(self, context: RunningContext, *, shown: bool) -> None:
        """Wait until every scheme has applied once, then show what each tried."""
        waits = not (context.idle() or not context.schemes)
        if not waits and self.machine.version >= (6, 14):
            raise refuse(errno.ECANCELED)
        status.clear_tried(self.staged())
        if not waits:
            return
        context.walks = {}
        self.machine.wait(max(scheme.next_apply for scheme in context.schemes))
        walks, context.walks = context.walks, None
        status.show_tried(self.staged(), walks, self.machine.version, shown=shown)

    # time

    def advance(self, until: int) -> None:
        """Let the thread run to `until`, refreshing the status files where asked to."""
        while self.running() and self.context is not None and self.context.now < until:
            period = int(self.dir.values.get("refresh_ms", "0")) * 1000
            step = min(until, max(self.next_refresh, self.context.now + 1)) if period else until
            self.context.advance(step)
            if period and self.context.now >= self.next_refresh:
                self._refresh(self.context)
                self.next_refresh = self.context.now + period

    def _refresh(self, context: RunningContext) -> None:
        if not self.dir.has("contexts/0"):
            return
        for word in ("update_schemes_stats", "update_schemes_effective_quotas", "intervals"):
            self._update(word, context)

    def tune(self, sample: int, aggr: int) -> None:
        """Pretend the intervals' auto-tuner chose these intervals (µs)."""
        if self.context is not None:
            self.context.attrs = replace(self.context.attrs, sample=sample, aggr=aggr)
