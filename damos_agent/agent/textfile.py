"""The metrics as a file for node_exporter's textfile collector, for as long as it is asked for."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from damos_agent.agent.core import Core
from damos_agent.agent.events import Event, emit
from damos_agent.model.errors import HostError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Textfile:
    """Writes the file and takes it away again: node_exporter would show an old one for ever."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._path = ""
        self._failed = ""
        self._registry: CollectorRegistry | None = None

    def write(self, path: str) -> bool:
        """Replace the file at `path`, and no longer keep another one; empty: none at all.

        It is written even if nothing changed, since its age tells whether the agent lives. False
        if there is nothing to write from now on. A dry run writes nothing.
        """
        if path != self._path:
            self.remove()
        if not path or not self._core.keeps:
            return False
        # Some MiB resident with prometheus_client, so only for those who asked for metrics.
        from damos_agent.agent.metrics import make_registry, write_textfile

        if self._registry is None:
            self._registry = make_registry(self._core.status, self._core.meters, process=False)
        try:
            write_textfile(path, self._registry)
        except HostError as error:
            self._complain(path, error)
            return True
        self._path, self._failed = path, ""
        return True

    def remove(self) -> None:
        """Take the file away, if we wrote one."""
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)
        self._path = ""

    def _complain(self, path: str, error: HostError) -> None:
        if self._failed == f"{path} {error.message}":
            return  # told already
        self._failed = f"{path} {error.message}"
        emit(
            self._core.logger,
            Event.STATE_UNUSABLE,
            path=path,
            message=error.message,
            hint=error.hint,
        )
