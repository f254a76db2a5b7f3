"""How long to wait before trying a failed thing again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_US = 1_000_000
_MOST_US = 60_000_000


_MOST_DOUBLINGS = 40
"""Far beyond any longest wait, so that a count that only grows does no harm."""


def doubled_us(first_us: int, times: int, most_us: int) -> int:
    """`first_us`, twice as long after each of `times` before, `most_us` at most."""
    return min(first_us << min(times, _MOST_DOUBLINGS), most_us)


@dataclass(frozen=True, slots=True)
class Backoff:
    """`failures` in a row; not to be tried before `until_us` of the caller's clock."""

    failures: int = 0
    until_us: int = 0

    def failed(self, now_us: int, most_us: int = _MOST_US) -> Backoff:
        """One more failure: waits double from 1 s to 60 s, or to `most_us`."""
        wait_us = doubled_us(_FIRST_US, self.failures, most_us)
        return Backoff(self.failures + 1, now_us + wait_us)
