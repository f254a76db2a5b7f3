"""Turning a burst of hints into one reload; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

LIMIT_US = 2_000_000
"""A burst that does not end is answered after this long."""


@dataclass(frozen=True, slots=True)
class Debounce:
    """Fires once `settle_us` after the last hint, at most `limit_us` after the first.

    All times are microseconds on one monotonic clock.
    """

    settle_us: int
    limit_us: int = LIMIT_US
    first_us: int | None = None
    last_us: int = 0

    def hint(self, now_us: int) -> Debounce:
        """Something may have changed at `now_us`."""
        first = now_us if self.first_us is None else self.first_us
        return replace(self, first_us=first, last_us=now_us)

    @property
    def due_us(self) -> int | None:
        """When to reload; None while nothing is pending."""
        if self.first_us is None:
            return None
        return min(self.last_us + self.settle_us, self.first_us + self.limit_us)

    def due(self, now_us: int) -> bool:
        """Whether it is time; then reload and go on with `fired`."""
        return self.due_us is not None and now_us >= self.due_us

    def fired(self) -> Debounce:
        """Nothing pending any more."""
        return replace(self, first_us=None)
