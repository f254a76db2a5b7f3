"""How much memory waits behind the gate for its turn: while it is enough, nothing more is tried.

Canaries cost what they find out. Sent for all that matches, under a small quota they would be
most of what goes out, for memory whose turn comes when nobody remembers them. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from damos_agent.model.damon import Placement

_ENOUGH: Final = 16
_LOW: Final = 2
"""Windows. A verdict takes an aggregation, so that the next trial has to go before the last."""


@dataclass(slots=True)
class Waiting:
    """Of one scheme, bytes. `_last`: of the last round that saw any; `_counted`: up to where."""

    _now: int = 0
    _last: int = 0
    _counted: dict[Placement, int] = field(default_factory=dict)

    def begin_round(self) -> None:
        """What the round sees is counted anew; one that looks at nothing tells nothing."""
        if self._counted:
            self._last, self._now = self._now, 0
            self._counted.clear()

    def see(self, process: Placement, start: int, end: int, count: Callable[[int], int]) -> None:
        """[start, end) of `process` was looked at; `count` tells how much of it waits from an
        address on. Calls go by ascending addresses, and may overlap.
        """
        begin = max(start, self._counted.get(process, 0))
        if begin < end:
            self._counted[process] = end
            self._now += count(begin)

    def add(self, size: int) -> None:
        """So many more wait."""
        self._now += size

    def is_enough(self, window_bytes: int) -> bool:
        """Whether it will last for a good many windows."""
        return max(self._now, self._last) >= _ENOUGH * window_bytes

    def is_low(self, window_bytes: int) -> bool:
        """Whether it will soon be used up."""
        return self._now < _LOW * window_bytes
