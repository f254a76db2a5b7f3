"""Logging an event: `emit(logger, Event.X, **fields)`, held to the table of events."""

from __future__ import annotations

from typing import Any, Protocol

from damos_agent.agent.event_spec import Event, Kind
from damos_agent.agent.event_table import EVENTS

__all__ = ["EVENTS", "Event", "Logger", "check", "emit"]


class Logger(Protocol):
    """What `emit` needs of a logger; structlog's bound loggers offer it."""

    def debug(self, event: str, *args: Any, **kw: Any) -> Any:
        """Log at debug."""
        ...

    def info(self, event: str, *args: Any, **kw: Any) -> Any:
        """Log at info."""
        ...

    def warning(self, event: str, *args: Any, **kw: Any) -> Any:
        """Log at warning."""
        ...

    def error(self, event: str, *args: Any, **kw: Any) -> Any:
        """Log at error."""
        ...


_PYTHON_TYPES: dict[Kind, type | tuple[type, ...]] = {
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.FLAG: bool,
    Kind.TEXTS: (list, tuple),
    Kind.INTEGERS: (list, tuple),
    Kind.GOALS: (list, tuple),
    Kind.OBJECT: dict,
}


def check(event: Event, fields: dict[str, object]) -> None:
    """Raise `TypeError` unless `fields` are those of the table, each of its type."""
    spec = EVENTS[event].fields
    if unknown := fields.keys() - spec.keys():
        raise TypeError(f"event {event} has no field {', '.join(sorted(unknown))}")
    for name, field in spec.items():
        value = fields.get(name)
        if value is None:
            if not field.optional:
                raise TypeError(f"event {event} needs field {name}")
        elif not _fits(field.kind, value):
            raise TypeError(f"event {event}, field {name}: {value!r} is no {field.kind}")


def _fits(kind: Kind, value: object) -> bool:
    if isinstance(value, bool):
        return kind is Kind.FLAG
    return isinstance(value, _PYTHON_TYPES[kind])


def emit(logger: Logger, event: Event, /, **fields: object) -> None:
    """Log `event` at its own level. A wrong field is a `TypeError`, as in any call."""
    check(event, fields)
    log = getattr(logger, EVENTS[event].level.value)
    log(event.value, **fields)
