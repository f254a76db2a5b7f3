"""Regions that are parts of mappings: they follow their mapping and are never joined beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from damos_agent.algo.region import Region


def carry(regions: Sequence[Region], first: int, start: int, end: int) -> list[Region]:
    """Copies of what lies in [start, end), from `regions[first]` on, made to fill all of it.

    The last one grows into what is new behind it; a mapping nothing is known of gets a region that
    knows nothing.
    """
    pieces: list[Region] = []
    for index in range(first, len(regions)):
        region = regions[index]
        if region.start >= end:
            break
        if region.end > start:
            begin = pieces[-1].end if pieces else start
            pieces.append(replace(region, start=begin, end=min(region.end, end)))
    if not pieces:
        return [Region(start, end)]
    pieces[-1].end = end
    return pieces


def thin(pieces: list[Region], most: int) -> list[Region]:
    """At most `most` pieces: neighbours of about the same age become one, as young as the younger.

    Taken for younger than it is, memory is only acted on later.
    """
    while len(pieces) > most or _equal_neighbours(pieces):
        gaps = [abs(a.age - b.age) for a, b in pairwise(pieces)]
        index = gaps.index(min(gaps))
        left, right = pieces[index], pieces[index + 1]
        left.end = right.end
        left.age = min(left.age, right.age)
        # Where one was accessed and the other was not, being idle now is news about both.
        left.last_nr_accesses = max(left.last_nr_accesses, right.last_nr_accesses)
        left.unknown = max(left.unknown, right.unknown)
        left.last_unknown = max(left.last_unknown, right.last_unknown)
        del pieces[index + 1]
    return pieces


def _equal_neighbours(pieces: Sequence[Region]) -> bool:
    return any(a.age == b.age for a, b in pairwise(pieces))
