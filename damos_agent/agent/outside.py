"""Numbers from outside: fed over the socket, or in a file that somebody keeps up to date."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from damos_agent.model.policy import External
from damos_agent.model.units import ULONG_MAX

_LONGEST = 64


@dataclass(slots=True)
class Outside:
    """`fed`: number and boot-clock time in µs, by name. `wall`: files carry the time of day."""

    wall: Callable[[], float] = time.time
    fed: dict[str, tuple[int, int]] = field(default_factory=dict)

    def feed(self, name: str, number: int, now_us: int) -> None:
        """From now on it is that."""
        self.fed[name] = (number, now_us)

    def read(self, source: External, now_us: int) -> int | None:
        """The number now; None: never told, too old, or no number."""
        if source.path:
            return self._read_file(source)
        number, at_us = self.fed.get(source.feed, (0, None))
        if at_us is None or now_us - at_us > source.stale_us:
            return None
        return number

    def _read_file(self, source: External) -> int | None:
        try:
            with open(source.path, encoding="ascii", errors="replace") as file:
                written = os.fstat(file.fileno()).st_mtime
                word = file.read(_LONGEST).split()[:1]
        except OSError:
            return None
        if self.wall() - written > source.stale_us / 1e6 or not word:
            return None
        return parse_number(word[0])


def parse_number(text: str) -> int | None:
    """A whole number that fits where the kernel would keep it."""
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(ULONG_MAX)):
        return None
    number = int(text)
    return number if number <= ULONG_MAX else None
