# SPDX-License-Identifier: Apache-2.0
"""What somebody who watches a layout ought to find: pure functions of layout and rounds.

A *piece* is a range of bytes that always share their fate. Time is in rounds, numbered from 0.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import pairwise

from tests.load.layout import (
    PAGE,
    HotCold,
    MovingWindow,
    Range,
    Stairs,
    Stripes,
    Zigzag,
    joined,
)
from tests.load.skewed import Skewed

Layout = HotCold | Stripes | Stairs | Zigzag | MovingWindow | Skewed
Rated = tuple[int, int, float]
Aged = tuple[int, int, int]


def touched(layout: Layout, round_number: int) -> list[Range]:
    """The offsets which that round touches."""
    return layout.at(phase_of(layout, round_number))


def phase_of(layout: Layout, round_number: int) -> int:
    """Which phase the round belongs to."""
    return round_number // layout.hold % layout.phases


def period(layout: Layout) -> int:
    """Rounds after which everything comes again."""
    return layout.phases * layout.hold


@lru_cache(maxsize=64)
def pieces(layout: Layout, granule: int = PAGE) -> tuple[Aged, ...]:
    """(start, end, mask) over the whole layout; bit N of the mask: touched in phase N.

    `granule`: the bytes which share one accessed bit, 2 MiB with huge pages.
    """
    toggles: dict[int, int] = {0: 0, layout.total: 0}
    for phase in range(layout.phases):
        for edge in (edge for piece in _widened(layout, phase, granule) for edge in piece):
            toggles[edge] = toggles.get(edge, 0) ^ 1 << phase
    return _merged(toggles)


def _widened(layout: Layout, phase: int, granule: int) -> list[Range]:
    return joined(
        [
            (start - start % granule, min(layout.total, end + -end % granule))
            for start, end in layout.at(phase)
        ]
    )


def _merged(toggles: dict[int, int]) -> tuple[Aged, ...]:
    edges = sorted({0, max(toggles), *(edge for edge, bits in toggles.items() if bits)})
    found, mask = [], 0
    for start, end in pairwise(edges):
        mask ^= toggles[start]
        found.append((start, end, mask))
    return tuple(found)


def truth(
    layout: Layout, rounds: range, sample_rounds: int = 1, granule: int = PAGE
) -> list[Rated]:
    """The share of samples, each of `sample_rounds` rounds on end, that find a piece accessed.

    Samples begin at every round from which they fit into `rounds`. With 1 that is the share of
    rounds which touched the piece. A monitor that looks every N rounds sees `sample_rounds=N`.
    """
    if len(rounds) < sample_rounds:
        raise ValueError(f"{sample_rounds} rounds do not fit into {rounds}")
    seen = Counter(_union(layout, first, sample_rounds) for first in _firsts(rounds, sample_rounds))
    samples = seen.total()
    return [
        (start, end, sum(n for sample, n in seen.items() if sample & mask) / samples)
        for start, end, mask in pieces(layout, granule)
    ]


def _firsts(rounds: range, sample_rounds: int) -> range:
    return range(rounds.start, rounds.stop - sample_rounds + 1)


def _union(layout: Layout, first: int, count: int) -> int:
    """The phases of `count` rounds from `first` on, as a mask."""
    mask = 0
    for step in range(first // layout.hold, (first + count - 1) // layout.hold + 1):
        mask |= 1 << step % layout.phases
    return mask


def ages(layout: Layout, now: int, per: int = 1, granule: int = PAGE) -> list[Aged]:
    """(start, end, rounds) for which a piece has been in the state it is in now.

    `now` rounds are over. The state is whether a block of `per` rounds touched it; blocks count
    from the latest backwards. Take the period for layouts that come and go, as stairs do.
    """
    blocks = range(now - per, -1, -per)
    masks = [_union(layout, first, per) for first in blocks[: period(layout)]]
    whole = len(blocks) * per
    return [
        (start, end, _steady(masks, mask) * per or whole)
        for start, end, mask in pieces(layout, granule)
    ]


def _steady(masks: list[int], mask: int) -> int:
    """How many of the latest blocks are like the latest; 0 if all of them are."""
    latest = bool(masks and masks[0] & mask)
    different = (n for n, block in enumerate(masks) if bool(block & mask) != latest)
    return next(different, 0)


def parts(layout: Layout) -> list[Range]:
    """The pieces that can lie in mappings of their own, since their edges never move."""
    edges = sorted({0, layout.total, *layout.cuts()})
    return list(pairwise(edges))


def check(layout: Layout) -> None:
    """Raise ValueError where a layout makes no sense."""
    for phase in range(layout.phases):
        for start, end in layout.at(phase):
            if not 0 <= start <= end <= layout.total or start % PAGE or end % PAGE:
                raise ValueError(f"{layout} touches {start}..{end}: not whole pages inside it")
