"""Settings that reach beyond the loop, put in force when they become known or change.

The agent starts with the settings it had last on this boot, or the defaults: agent.yaml is only
known after the first compilation.
"""

from __future__ import annotations

import os
import selectors
from dataclasses import dataclass
from typing import TYPE_CHECKING

from damos_agent.agent.core import Core
from damos_agent.agent.events import Event, emit
from damos_agent.agent.listeners import inherited, listen
from damos_agent.agent.log import SwitchedLog
from damos_agent.agent.loop import Loop
from damos_agent.agent.sockets import Server
from damos_agent.agent.watcher import open_watcher
from damos_agent.model.errors import DamosError
from damos_agent.model.settings import LogFormat, LogLevel, Settings, WatchMethod

if TYPE_CHECKING:
    from damos_agent.agent.metrics import HttpAnswer


class MetricsPorts:
    """Sockets that serve metrics: those systemd passed, always, and the one that is configured."""

    def __init__(self, selector: selectors.BaseSelector, servers: list[Server], core: Core) -> None:
        self._selector = selector
        self._servers = servers
        self._core = core
        self._address = ""
        self._server: Server | None = None
        self._failed = ""
        for listener in inherited(os.environ, os.getpid(), "metrics"):
            self._open(listener.getsockname(), Server(selector, listener, self._answer()))

    def follow(self, address: str) -> None:
        """Serve at `address` from now on, and no longer where it was before; empty: nowhere.

        An address that cannot be had is tried again at the next call.
        """
        if address == self._address:
            return
        self._close()
        if not address:
            return
        try:
            listener = listen(address)
        except DamosError as error:
            self._complain(address, error)
            return
        self._address, self._failed = address, ""
        path = address.removeprefix("unix:") if address.startswith("unix:") else ""
        self._server = Server(self._selector, listener, self._answer(), path=path)
        self._open(listener.getsockname(), self._server)

    def _open(self, name: object, server: Server) -> None:
        self._servers.append(server)
        spelt = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else f"unix:{name}"
        emit(self._core.logger, Event.LISTENING, purpose="metrics", address=spelt)

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        self._servers.remove(server)
        server.close()
        emit(self._core.logger, Event.LISTENING_ENDED, purpose="metrics", address=self._address)
        self._address = ""

    def _complain(self, address: str, error: DamosError) -> None:
        if self._failed == f"{address} {error.message}":
            return
        self._failed = f"{address} {error.message}"
        emit(
            self._core.logger,
            Event.LISTEN_FAILED,
            purpose="metrics",
            address=address,
            message=error.message,
            hint=error.hint,
        )

    def _answer(self) -> HttpAnswer:
        # Some MiB resident with prometheus_client, so only for those who asked for metrics.
        from damos_agent.agent.metrics import HttpAnswer, make_registry

        return HttpAnswer(make_registry(self._core.status, self._core.meters))


@dataclass(slots=True)
class Adjuster:
    """`fixed_*` stand on the command line and win over agent.yaml; no `metrics` in a dry run."""

    loop: Loop
    log: SwitchedLog
    fixed_format: str | None = None
    fixed_level: str | None = None
    metrics: MetricsPorts | None = None
    _watch: WatchMethod | None = None

    def adjust(self, settings: Settings) -> None:
        """Bring everything in line with `settings`; what is so already is left alone."""
        self.log.switch(
            LogFormat(self.fixed_format or settings.log_format),
            LogLevel(self.fixed_level or settings.log_level),
        )
        self._switch_watcher(settings.watch)
        if self.metrics:
            self.metrics.follow(settings.metrics.listen)

    def _switch_watcher(self, method: WatchMethod) -> None:
        if method is self._watch:
            return
        loop = self.loop
        if loop.watcher:
            loop.watcher.stop()
        loop.watcher = open_watcher(loop.core.machine.roots.config, loop.hint, method)
        if self._watch is not None:
            loop.hint()  # what changed between the two was seen by neither
        self._watch = method
