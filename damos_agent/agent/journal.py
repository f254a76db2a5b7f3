"""Counts and logs what is written to the kernel."""

from __future__ import annotations

from damos_agent.agent.events import Event, Logger, emit
from damos_agent.model.errors import KernelError


class WriteJournal:
    """The `Journal` of the applier: one debug event per write, one error event per refusal."""

    def __init__(self, logger: Logger, prefix: str) -> None:
        self._logger = logger
        self._prefix = f"{prefix}/"
        self.writes = 0
        self.failures = 0

    def counts(self) -> tuple[int, int]:
        """Writes, and refusals, so far."""
        return self.writes, self.failures

    def wrote(self, path: str, value: str) -> None:
        """Count and log a write."""
        self.writes += 1
        path = path.removeprefix(self._prefix)
        emit(self._logger, Event.WRITE_APPLIED, path=path, value=value)

    def refused(self, path: str, value: str, error: KernelError) -> None:
        """Count and log a refusal."""
        self.failures += 1
        emit(
            self._logger,
            Event.WRITE_FAILED,
            path=path.removeprefix(self._prefix),
            value=value,
            errno=error.errno,
            message=error.message,
            hint=error.hint,
        )
