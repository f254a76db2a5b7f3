"""What one sampling check and one window of them say about a region.

Law: docs of DAMON, and mm/damon/core.c as of 7.3 (moving sum of two windows).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from damos_agent.algo.region import Region

WHOLE_BP = 10_000


def pick(regions: Sequence[Region], rng: Random, unit: int) -> list[int]:
    """For each region the address of one of its pages of `unit` bytes, all equally likely."""
    draw = rng.random
    return [r.start + int(draw() * ((r.end - r.start) // unit)) * unit for r in regions]


def moving_sum(nr: int, last: int, left_bp: int) -> int:
    """Accesses of the latest whole window's length, seen when `left_bp` of this one is to come.

    What is left of the window is filled up from the `last` one.
    """
    if left_bp == WHOLE_BP:
        return last
    return nr + last * left_bp // WHOLE_BP


def moving_nr(region: Region, left_bp: int) -> int:
    """The moving sum of a region's accesses."""
    return moving_sum(region.nr_accesses, region.last_nr_accesses, left_bp)


def moving_unknown(region: Region, left_bp: int) -> int:
    """The same for checks that told nothing; rounded up, since one of them is one too many."""
    return region.unknown - (-region.last_unknown * left_bp // WHOLE_BP)


def left_bp(ticks_left: int, samples: int) -> int:
    """Basis points of the window still to come, `ticks_left` of its `samples` checks."""
    return max(0, ticks_left) * WHOLE_BP // max(samples, 1)


def roll(regions: Iterable[Region]) -> None:
    """Begin a new window: what was counted becomes the last one's."""
    for region in regions:
        region.last_nr_accesses = region.nr_accesses
        region.last_unknown = region.unknown
        region.nr_accesses = 0
        region.unknown = 0
