"""Stops reclaim that was wrong: memory that comes straight back was in use. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from damos_agent.algo.backoff import Backoff

_SHARE: Final = 10
"""One part in so many of what was taken may come back."""


@dataclass(slots=True)
class Brake:
    """Held against the bytes that ever refaulted in the cgroup, whoever had them evicted.

    What comes back between two rounds counts against the round before. `held`: what for, or empty.
    """

    backoff: Backoff = field(default_factory=Backoff)
    held: str = ""
    _taken: int = 0
    _anchor: int | None = None

    def begin(self, refaulted: int, now_us: int) -> bool:
        """A round begins; whether anything may be taken in it."""
        harmless = self.look(refaulted, now_us)
        if harmless and self._taken:
            self.backoff, self.held = Backoff(), ""
        self._taken, self._anchor = 0, refaulted
        return now_us >= self.backoff.until_us

    def took(self, size: int) -> None:
        """So many bytes were taken."""
        self._taken += size

    def look(self, refaulted: int, now_us: int) -> bool:
        """After a step: whether to go on. If not, not before 1 s, twice as long each time."""
        back = refaulted - (self._anchor if self._anchor is not None else refaulted)
        if not self._taken or back <= self._taken // _SHARE:
            return True
        self.backoff = self.backoff.failed(now_us)
        wait_s = (self.backoff.until_us - now_us) / 1e6
        self.held = (
            f"of {self._taken >> 10} KiB taken from the cgroup, {back >> 10} KiB were needed again "
            f"at once: nothing is taken for {wait_s:.0f} s"
        )
        self._taken, self._anchor = 0, refaulted
        return False
