# SPDX-License-Identifier: Apache-2.0
"""Touches what a layout says, as fast as plain Python can: some 10 ns a page, single ones 60.

A slice of an mmap with a step of a page reads one byte of each page, in C.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.load.layout import PAGE, Range
from tests.load.memory import Part

_CHUNK = 4096
"""Pages between two looks at the clock."""

_SHORT = 4
"""Runs of so few pages are touched one by one, which is faster than a slice for each."""

Touch = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Step:
    """A call that touches that many pages."""

    touch: Touch
    pages: int


def plan(
    mapped: mmap.mmap, parts: tuple[Part, ...], ranges: list[Range], write: bool
) -> list[Step]:
    """Steps that touch each page of the ranges, offsets of the layout, once."""
    runs = [run for start, end in ranges for run in _indexes(parts, start, end)]
    short = [run for run in runs if run[1] - run[0] <= _SHORT * PAGE]
    singles = [at for start, end in short for at in range(start, end, PAGE)]
    steps = [
        _slice_step(mapped, slice(at, min(end, at + _CHUNK * PAGE), PAGE), write)
        for start, end in runs
        if end - start > _SHORT * PAGE
        for at in range(start, end, _CHUNK * PAGE)
    ]
    chunks = (singles[at : at + _CHUNK] for at in range(0, len(singles), _CHUNK))
    return steps + [_single_step(mapped, chunk, write) for chunk in chunks]


def _indexes(parts: tuple[Part, ...], start: int, end: int) -> list[Range]:
    """Where in the mmap those offsets lie; in more places than one if it spans parts."""
    clipped = ((part, max(start, part.start), min(end, part.end)) for part in parts)
    return [
        (part.index + first - part.start, part.index + last - part.start)
        for part, first, last in clipped
        if first < last
    ]


def _slice_step(mapped: mmap.mmap, where: slice, write: bool) -> Step:
    pages = len(range(where.start, where.stop, PAGE))
    if not write:
        return Step(lambda: mapped[where], pages)
    ones = b"\1" * pages
    return Step(lambda: mapped.__setitem__(where, ones), pages)


def _single_step(mapped: mmap.mmap, where: list[int], write: bool) -> Step:
    if not write:
        return Step(lambda: deque(map(mapped.__getitem__, where), 0), len(where))
    ones = [1] * len(where)
    return Step(lambda: deque(map(mapped.__setitem__, where, ones), 0), len(where))
