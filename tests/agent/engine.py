"""The agent's loop on a simulated machine, with real files, sockets, signals and compiler."""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import structlog

from damos_agent.agent.adjust import Adjuster, MetricsPorts
from damos_agent.agent.core import Core
from damos_agent.agent.log import SwitchedLog
from damos_agent.agent.loop import Loop
from damos_agent.agent.notify import Notifier
from damos_agent.agent.outside import Outside
from damos_agent.agent.seating import Seating
from damos_agent.agent.warden import Warden
from damos_agent.host.pidfd import ProcessWatcher
from damos_agent.host.roots import Roots
from damos_agent.model.settings import LogFormat, LogLevel
from tests.agent.world import World
from tests.config import samples

PATIENCE_S = 30.0
PHYSICAL = samples.policy("phys", target="{physical: {}}")


class Brisk(selectors.DefaultSelector):
    """Never waits for long, so that a test can look at what has become of its condition."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(0.02 if timeout is None else min(timeout, 0.02))


class Engine:
    """`root` is where etc and run are; `log` collects what the switched log writes."""

    def __init__(self, root: Path, kernel: str = "7.3", *, dry_run: bool = False) -> None:
        self.root = root
        for path in ("etc/damos-agent/policies.d", "run", "usr/lib", "usr/local/lib"):
            (root / path).mkdir(parents=True, exist_ok=True, mode=0o755)
        roots = Roots(config=str(root), run=str(root / "run"))
        self.world = World(kernel=kernel, roots=roots, dry_run=dry_run)
        self.text = StringIO()
        logger = structlog.wrap_logger(None, processors=[self.world.log])
        seating = Seating(self.world.reconciler, None, logger)
        journal = self.world.journal
        outside = Outside()
        machine = self.world.reconciler.machine
        warden = Warden(machine, logger, keeps=not dry_run, outside=outside.read)
        warden.adopt()
        self.core = Core(
            self.world.reconciler.machine,
            seating,
            logger,
            lambda: (journal.writes, journal.failures),
            warden,
            outside,
            keeps=not dry_run,
        )
        self.loop = Loop(
            self.core, Brisk(), Notifier(), ProcessWatcher(machine.fs, machine.roots, _no_pidfd)
        )
        self.switched = SwitchedLog(LogFormat.JSON, LogLevel.INFO, stream=self.text)
        self.adjuster = Adjuster(self.loop, self.switched)
        if not dry_run:
            self.adjuster.metrics = MetricsPorts(self.loop.selector, self.loop.servers, self.core)
        self.loop.adjust = self.adjuster.adjust

    @property
    def policies(self) -> Path:
        return self.root / "etc/damos-agent/policies.d"

    def settings(self, spec: str) -> None:
        """Write agent.yaml."""
        head = "apiVersion: damos-agent/v1\nkind: Agent\nmetadata: {name: agent}\n"
        path = self.root / "etc/damos-agent/agent.yaml"
        path.with_suffix(".new").write_text(f"{head}spec: {spec}\n")
        path.with_suffix(".new").rename(path)

    def until(self, what: Callable[[], object]) -> None:
        """Let the loop turn until `what` holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert time.monotonic() < deadline, "waited in vain"
            self.loop._turn()

    def reloads(self, count: int) -> None:
        """Until so many reloads are over."""
        self.until(lambda: len(self.world.events("reload_finished")) >= count)

    def reload(self) -> None:
        """One more."""
        count = len(self.world.events("reload_finished"))
        self.loop.request_reload()
        self.reloads(count + 1)


def _no_pidfd(_pid: int) -> int:
    raise ProcessLookupError


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """Started, and stopped in the end; the test's own signal handlers are put back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        engine.loop.open()
        engine.loop.start()
        yield engine
    finally:
        engine.loop.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def edit(path: Path, text: str) -> None:
    """Replace a file as editors do."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.rename(path)
