"""When to do what: named deadlines on one monotonic clock. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_LONGEST_US: Final = 86_400_000_000
"""epoll_wait(2) takes 31 bits of milliseconds: longer waits are cut in pieces."""


@dataclass(slots=True)
class Schedule:
    """Deadlines in µs by name; a name has at most one."""

    due: dict[str, int] = field(default_factory=dict)

    def at(self, name: str, when_us: int | None) -> None:
        """Set or (None) clear the deadline of `name`."""
        if when_us is None:
            self.due.pop(name, None)
        else:
            self.due[name] = when_us

    def no_later(self, name: str, when_us: int) -> None:
        """Bring the deadline of `name` forward if it lies after `when_us`."""
        self.due[name] = min(self.due.get(name, when_us), when_us)

    def take(self, now_us: int) -> list[str]:
        """Names that are due, earliest first; they are cleared."""
        ready = sorted((when, name) for name, when in self.due.items() if when <= now_us)
        for _, name in ready:
            del self.due[name]
        return [name for _, name in ready]

    def wait_s(self, now_us: int) -> float | None:
        """Seconds to the next deadline or a day, 0 if one has passed; None without any."""
        if not self.due:
            return None
        return min(max(0, min(self.due.values()) - now_us), _LONGEST_US) / 1e6
