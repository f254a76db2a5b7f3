# SPDX-License-Identifier: Apache-2.0
"""What a load touches and when, as data: offsets in bytes from the load's first byte.

A layout goes through `phases`, `hold` rounds each, and then begins again. So everything about its
future is known, and a worker can prepare all of it. Ranges are ascending, disjoint and of whole
pages.
"""

from __future__ import annotations

from dataclasses import dataclass

PAGE = 4096
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class HotCold:
    """`hot_bytes` from `hot_start` on are touched each round, the rest never."""

    total: int
    hot_start: int
    hot_bytes: int
    hold: int = 1

    @property
    def phases(self) -> int:
        return 1

    def at(self, phase: int) -> list[Range]:
        return [(self.hot_start, self.hot_start + self.hot_bytes)]

    def cuts(self) -> set[int]:
        return {self.hot_start, self.hot_start + self.hot_bytes}


@dataclass(frozen=True, slots=True)
class Stripes:
    """`stripes` hot ones of `hot_bytes` each, evenly spread, each at the start of its share."""

    total: int
    stripes: int
    hot_bytes: int
    hold: int = 1

    @property
    def phases(self) -> int:
        return 1

    def at(self, phase: int) -> list[Range]:
        starts = (_whole(self.total * n // self.stripes) for n in range(self.stripes))
        return joined([(start, start + self.hot_bytes) for start in starts])

    def cuts(self) -> set[int]:
        return {edge for piece in self.at(0) for edge in piece}


@dataclass(frozen=True, slots=True)
class Stairs:
    """`steps` equal parts, touched in each round, in every second, in every fourth ...

    Two steps at most have their turn in one round, so that rounds are of about the same length.
    """

    total: int
    steps: int
    hold: int = 1

    @property
    def phases(self) -> int:
        return 1 << (self.steps - 1)

    def at(self, phase: int) -> list[Range]:
        return joined([self._step(n) for n in range(self.steps) if phase % (1 << n) == 1 << n >> 1])

    def cuts(self) -> set[int]:
        return {self._step(n)[0] for n in range(self.steps)}

    def _step(self, n: int) -> Range:
        return _whole(self.total * n // self.steps), _whole(self.total * (n + 1) // self.steps)


@dataclass(frozen=True, slots=True)
class Zigzag:
    """A hot window goes up by `stride` bytes each phase, then down again the same way."""

    total: int
    hot_bytes: int
    stride: int
    hold: int = 1

    @property
    def phases(self) -> int:
        return max(1, 2 * self._top)

    @property
    def _top(self) -> int:
        return (self.total - self.hot_bytes) // self.stride

    def at(self, phase: int) -> list[Range]:
        start = min(phase, self.phases - phase) * self.stride
        return [(start, start + self.hot_bytes)]

    def cuts(self) -> set[int]:
        return set()


@dataclass(frozen=True, slots=True)
class MovingWindow:
    """A hot window goes up by `stride` bytes each phase; beyond the end it enters at the start."""

    total: int
    hot_bytes: int
    stride: int
    hold: int = 1

    @property
    def phases(self) -> int:
        return -(-self.total // self.stride)

    def at(self, phase: int) -> list[Range]:
        start = phase * self.stride
        end = start + self.hot_bytes
        wrapped = [(0, end - self.total)] if end > self.total else []
        return joined([*wrapped, (start, min(end, self.total))])

    def cuts(self) -> set[int]:
        return set()


def joined(ranges: list[Range]) -> list[Range]:
    """The same bytes in ascending order, with no two ranges that overlap or touch."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def _whole(offset: int) -> int:
    return offset - offset % PAGE
