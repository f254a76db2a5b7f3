"""Where events go: JSON lines on stderr, readable text on a terminal.

Nothing is configured globally: `open_log` returns a logger that knows its own stream.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from damos_agent import __version__
from damos_agent.model.settings import LogFormat, LogLevel

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""sd-daemon(3): syslog priorities as journald reads them from the start of a line."""

_LEVELS = {LogLevel.DEBUG: 10, LogLevel.INFO: 20, LogLevel.WARNING: 30, LogLevel.ERROR: 40}


class Lines:
    """Writes each event as one line. A reader that has gone away must not end the agent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Put `line` on the stream at once."""
        with suppress(BrokenPipeError, BlockingIOError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


def journal_reads(environ: Mapping[str, str], descriptor: int) -> bool:
    """Whether `descriptor` is the very stream systemd connected to the journal."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    if not (device.isdecimal() and inode.isdecimal()):
        return False
    status = os.fstat(descriptor)
    return (status.st_dev, status.st_ino) == (int(device), int(inode))


def open_log(
    log_format: LogFormat,
    level: LogLevel,
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.time,
) -> FilteringBoundLogger:
    """A logger for `emit`, bound to our pid and version; `clock` gives seconds since the epoch."""
    with _without_rich():
        import structlog
    stream = sys.stderr if stream is None else stream
    environ = os.environ if environ is None else environ
    text = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and stream.isatty())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        _stamp(clock),
        _text_renderer(stream, environ) if text else structlog.processors.JSONRenderer(),
    ]
    if _descriptor(stream) is not None and journal_reads(environ, stream.fileno()):
        processors.append(_prefix)
    logger: FilteringBoundLogger = structlog.wrap_logger(
        Lines(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
    )
    return logger if text else logger.bind(pid=os.getpid(), version=__version__)


class SwitchedLog:
    """A log whose format and level may change while others hold it."""

    def __init__(
        self, log_format: LogFormat, level: LogLevel, *, stream: TextIO | None = None
    ) -> None:
        self._stream = stream
        self._now = (log_format, level)
        self._log = open_log(log_format, level, stream=stream)

    def switch(self, log_format: LogFormat, level: LogLevel) -> None:
        """Write like this from now on."""
        if self._now != (log_format, level):
            self._now = (log_format, level)
            self._log = open_log(log_format, level, stream=self._stream)

    def debug(self, event: str, *args: Any, **kw: Any) -> Any:
        """See `events.Logger`."""
        return self._log.debug(event, *args, **kw)

    def info(self, event: str, *args: Any, **kw: Any) -> Any:
        """See `events.Logger`."""
        return self._log.info(event, *args, **kw)

    def warning(self, event: str, *args: Any, **kw: Any) -> Any:
        """See `events.Logger`."""
        return self._log.warning(event, *args, **kw)

    def error(self, event: str, *args: Any, **kw: Any) -> Any:
        """See `events.Logger`."""
        return self._log.error(event, *args, **kw)


@contextmanager
def _without_rich() -> Iterator[None]:
    """Hide rich while structlog is imported: it would load it for tracebacks (4 MiB resident)."""
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]  # documented: the import fails
    try:
        yield
    finally:
        if hidden:
            del sys.modules["rich"]


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # not a real file
        return None


def _stamp(clock: Callable[[], float]) -> Processor:
    """Put time, level and name first, so that raw lines are easy to read."""

    def stamp(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> dict[str, Any]:
        when = datetime.fromtimestamp(clock(), UTC).isoformat(timespec="microseconds")
        head = {"timestamp": when.replace("+00:00", "Z")}
        return head | {key: fields.pop(key) for key in ("level", "event")} | dict(fields)

    return stamp


def _prefix(_logger: Any, name: str, line: Any) -> str:
    return f"<{_PRIORITIES.get(name, 6)}>{line}"


def _text_renderer(stream: TextIO, environ: Mapping[str, str]) -> Processor:
    import structlog

    colours = stream.isatty() and not environ.get("NO_COLOR")
    return structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False)
