"""The daemon's one thread: sleeps until something happens or is due, and does it.

Hints (watchdog events, SIGHUP, a request) only bring the moment of looking forward; whether
anything changed is decided by the digest of the files and by the kernel's own state.
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from damos_agent.agent.compiler import Compilation, compiler_command
from damos_agent.agent.core import Core
from damos_agent.agent.debounce import Debounce
from damos_agent.agent.digest import digest_tree
from damos_agent.agent.events import Event, emit
from damos_agent.agent.notify import Notifier
from damos_agent.agent.schedule import Schedule
from damos_agent.agent.sockets import Server
from damos_agent.agent.textfile import Textfile
from damos_agent.agent.watcher import Watcher
from damos_agent.algo.goals import STEP_US
from damos_agent.host.libc import give_back
from damos_agent.host.pidfd import ProcessWatcher
from damos_agent.host.system import read_uptime_us
from damos_agent.model.errors import CompileError, DamosError
from damos_agent.model.settings import Settings
from damos_agent.model.status import PolicyState
from damos_agent.model.units import plural

_FIRST_OUTCOME_US = 5_000_000


def monotonic_us() -> int:
    """The loop's clock."""
    return time.monotonic_ns() // 1000


def _leave(_settings: Settings) -> None:
    """Nothing to adjust."""


@dataclass(slots=True)
class _Reload:
    """A compiler at work, and why."""

    child: Compilation
    trigger: str
    begun_us: int


@dataclass(slots=True)
class Loop:
    """`watchdog_us`: how often systemd wants to hear from us, or None.

    `adjust` puts settings in force that are none of the loop's: at the start those of the last run,
    and then after each reload and at each resync.
    """

    core: Core
    selector: selectors.BaseSelector
    notifier: Notifier
    processes: ProcessWatcher
    watchdog_us: int | None = None
    watcher: Watcher | None = None
    servers: list[Server] = field(default_factory=list)
    schedule: Schedule = field(default_factory=Schedule)
    adjust: Callable[[Settings], None] = _leave
    stop_reason: str = ""
    _hints: Debounce = field(default_factory=lambda: Debounce(200_000))
    _trigger: str = "start"
    _forced: bool = False
    _digest: str = ""
    _seen: dict[str, object] = field(default_factory=dict)
    _reload: _Reload | None = None
    _monitor: tuple[int | None, int | None] = (None, None)
    _wake: tuple[socket.socket, socket.socket] | None = None
    _signals: list[int] = field(default_factory=list)
    _textfile: Textfile = field(init=False)

    def __post_init__(self) -> None:
        """The file needs the core."""
        self._textfile = Textfile(self.core)

    def open(self) -> None:
        """Take over signals and the descriptors that wake the loop."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._wake = (reader, writer)
        self.selector.register(reader, selectors.EVENT_READ, self._drain)
        self.selector.register(self.processes.fileno(), selectors.EVENT_READ, self._exited)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note_signal)

    def hint(self) -> None:
        """From any thread: files may have changed."""
        if self._wake:
            try:
                self._wake[1].send(b"w")
            except (BlockingIOError, OSError):
                return

    def request_reload(self) -> None:
        """Look at the files now, whatever their digest says."""
        self._forced = True
        self._start_reload("request")

    def run(self) -> None:
        """Until a signal says stop."""
        self.start()
        while not self.stop_reason:
            self._turn()

    def start(self) -> None:
        """Begin the first compilation, and set the clocks."""
        self.adjust(self.core.settings)
        self._start_reload("start")
        now = monotonic_us()
        self.schedule.at("resync", now + self.core.settings.resync_us)
        if self.watchdog_us:
            self.schedule.at("watchdog", now + self.watchdog_us // 2)

    def _turn(self) -> None:
        waits = [self.schedule.wait_s(monotonic_us()), *self._server_waits()]
        if self._reload:
            waits.append(max(0.0, self._reload.child.deadline - time.monotonic()))
        timeout = min((wait for wait in waits if wait is not None), default=None)
        for key, mask in self.selector.select(timeout):
            key.data(mask)
        self._take_signals()
        for server in self.servers:
            server.expire()
        if self._reload and time.monotonic() >= self._reload.child.deadline:
            self._finish_reload(0)
        for name in self.schedule.take(monotonic_us()):
            self._timers[name]()

    @property
    def _timers(self) -> dict[str, Callable[[], None]]:
        return {
            "resync": self._resync,
            "follow": self._follow,
            "outcome": self._outcome,
            "guard": self._look_for_harm,
            "steer": self._steer,
            "forecast": self._forecast,
            "retry": self._round,
            "files": self._files_settled,
            "textfile": self._write_textfile,
            "watchdog": self._watchdog,
        }

    def _server_waits(self) -> list[float | None]:
        now = time.monotonic()
        deadlines = [server.deadline for server in self.servers]
        return [max(0.0, deadline - now) for deadline in deadlines if deadline is not None]

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _drain(self, _mask: int) -> None:
        assert self._wake is not None  # noqa: S101  # registered together with it
        try:
            data = self._wake[0].recv(4096)
        except BlockingIOError:
            return
        if b"w" in data:
            self._hints = self._hints.hint(monotonic_us())
            self.schedule.at("files", self._hints.due_us)

    def _take_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            name = signal.Signals(number).name
            emit(self.core.logger, Event.SIGNAL_RECEIVED, signal=name)
            if number == signal.SIGHUP:
                self._forced = True
                self._start_reload("signal")
            else:
                self.stop_reason = name

    def _files_settled(self) -> None:
        self._hints = self._hints.fired()
        self._start_reload("files")

    def _start_reload(self, trigger: str) -> None:
        if self._reload:
            # One at a time; what changed meanwhile is looked at when this one is done.
            self.schedule.no_later("files", monotonic_us() + self.core.settings.settle_us)
            return
        self._rearm()
        digest, seen = digest_tree(self.core.machine.roots.config, self._seen)  # type: ignore[arg-type]
        self._seen = dict(seen)
        if digest == self._digest and not self._forced:
            return
        self._digest, self._forced = digest, False
        self.notifier.reloading()
        emit(self.core.logger, Event.RELOAD_STARTED, trigger=trigger)
        try:
            command = compiler_command(self.core.machine.roots.config)
            child = Compilation(command, self.core.loaded.held)
        except CompileError as error:
            self._compile_failed(error)
            return
        self._reload = _Reload(child, trigger, monotonic_us())
        self.selector.register(child.fileno(), selectors.EVENT_READ, self._finish_reload)

    def _compile_failed(self, error: DamosError) -> None:
        self._digest = ""
        self.core.compile_failed(error)
        self._ready()

    def _finish_reload(self, _mask: int) -> None:
        work, self._reload = self._reload, None
        assert work is not None  # noqa: S101  # only called while one is under way
        self.selector.unregister(work.child.fileno())
        try:
            compiled = work.child.result()
        except CompileError as error:
            self._compile_failed(error)
            return
        before = self.core.settings
        self.core.take(compiled, work.trigger, monotonic_us() - work.begun_us)
        self.adjust(self.core.settings)
        self._hints = Debounce(
            self.core.settings.settle_us,
            first_us=self._hints.first_us,
            last_us=self._hints.last_us,
        )
        self._round()
        if work.trigger == "start" or before != self.core.settings:
            self._plan_timers()
        self._ready()
        give_back()  # a reload holds all policies twice for a moment, as text and as values

    def _ready(self) -> None:
        states = [standing.state for standing in self.core.standings.values()]
        running = sum(state in (PolicyState.ACTIVE, PolicyState.OBSERVING) for state in states)
        text = f"{running} of {len(states)} policies in force"
        bad = self.core.loaded.refused_files + len(self.core.loaded.stale)
        self.notifier.ready(f"{text}, {plural(bad, 'file')} rejected" if bad else text)

    def _plan_timers(self) -> None:
        now, settings = monotonic_us(), self.core.settings
        self.schedule.no_later("resync", now + settings.resync_us)
        self.schedule.no_later("outcome", now + min(settings.outcome_us, _FIRST_OUTCOME_US))
        self.schedule.at("textfile", now)

    def _rearm(self) -> None:
        if self.watcher is None:
            return
        for failure in self.watcher.rearm():
            emit(self.core.logger, Event.WATCH_FAILED, path=failure.path, message=failure.message)

    def _round(self) -> None:
        done = self.core.reconcile()
        now = monotonic_us()
        if done is None:
            self.schedule.no_later("retry", now + 1_000_000)
            return
        self._listen_to_monitor()
        self.processes.watch(self.core.followed())
        if done.retry_us is not None:
            # The reconciler counts in boot time, the loop in monotonic time.
            machine = self.core.machine
            left = done.retry_us - read_uptime_us(machine.fs, machine.roots)
            self.schedule.no_later("retry", now + max(left, 100_000))
        follow = now + self.core.settings.follow_us if self.core.must_follow() else None
        self.schedule.at("follow", follow)
        self._plan_guard()
        if self.core.steers:
            self.schedule.no_later("steer", now + STEP_US)
        else:
            self.schedule.at("steer", None)
        self._plan_forecast()

    def _plan_forecast(self) -> None:
        every_us = self.core.look_interval_us
        if every_us is None:
            self.schedule.at("forecast", None)
        else:
            self.schedule.no_later("forecast", monotonic_us() + every_us)

    def _forecast(self) -> None:
        if self.core.forecast():
            self._round()
        self._plan_forecast()

    def _steer(self) -> None:
        if self.core.steer():
            self._round()
        if self.core.steers:
            self.schedule.no_later("steer", monotonic_us() + STEP_US)

    def _plan_guard(self) -> None:
        due_us = self.core.guard_due_us()
        if due_us is None:
            self.schedule.at("guard", None)
            return
        machine = self.core.machine
        left = due_us - read_uptime_us(machine.fs, machine.roots)
        self.schedule.at("guard", monotonic_us() + max(left, 10_000))

    def _look_for_harm(self) -> None:
        if self.core.look_for_harm():
            self._round()
        else:
            self._plan_guard()

    def switch(self, change: Callable[[], None]) -> None:
        """Pause or resume something, and carry that out at once. Raises as `change`."""
        change()
        self._round()

    def _listen_to_monitor(self) -> None:
        """Have the selector follow the monitor process as it comes and goes."""
        link = self.core.seating.link
        # By pid, since the next one's socket may get the last one's number.
        now = (link.pid, link.fileno()) if link else (None, None)
        if now == self._monitor:
            return
        if self._monitor[1] is not None:
            self.selector.unregister(self._monitor[1])
        self._monitor = now
        if now[1] is not None:
            self.selector.register(now[1], selectors.EVENT_READ, self._monitor_spoke)

    def _monitor_spoke(self, _mask: int) -> None:
        if self.core.hear_monitor():
            self._round()
        self._listen_to_monitor()

    def _resync(self) -> None:
        self.adjust(self.core.settings)
        self._start_reload("resync")
        self._round()
        self.schedule.at("resync", monotonic_us() + self.core.settings.resync_us)

    def _follow(self) -> None:
        if self.core.targets_moved():
            self._round()
        elif self.core.must_follow():
            self.schedule.at("follow", monotonic_us() + self.core.settings.follow_us)

    def _exited(self, _mask: int) -> None:
        if self.processes.take_exited():
            self._round()

    def _outcome(self) -> None:
        if self.core.tell_outcomes():
            self._round()
        self.schedule.at("outcome", monotonic_us() + self.core.settings.outcome_us)

    def _write_textfile(self) -> None:
        metrics = self.core.settings.metrics
        if self._textfile.write(metrics.textfile):
            self.schedule.at("textfile", monotonic_us() + metrics.textfile_us)

    def _watchdog(self) -> None:
        self.notifier.watchdog()
        if self.watchdog_us:
            self.schedule.at("watchdog", monotonic_us() + self.watchdog_us // 2)

    def close(self) -> None:
        """Give everything back."""
        if self._reload:
            self.selector.unregister(self._reload.child.fileno())
            self._reload.child.cancel()
        if self.watcher:
            self.watcher.stop()
        for server in self.servers:
            server.close()
        self._textfile.remove()
        signal.set_wakeup_fd(-1)
        if self._wake:
            for end in self._wake:
                end.close()
        self.processes.close()
        self.selector.close()
