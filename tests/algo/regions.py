"""Regions for the tests of what becomes of them."""

from __future__ import annotations

from hypothesis import strategies as st

from damos_agent.algo.region import Region

UNIT = 4096
SAMPLES = 20

_counts = st.integers(0, SAMPLES)
_pieces = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 50), _counts, _counts, st.integers(0, 9), _counts),
    max_size=12,
)


def _chain(pieces: list[tuple[int, int, int, int, int, int]]) -> list[Region]:
    made, at = [], 16 * UNIT
    for gap, pages, nr, last, age, unknown in pieces:
        at += gap * UNIT
        end = at + pages * UNIT
        made.append(Region(at, end, nr, last, age, min(unknown, SAMPLES - nr)))
        at = end
    return made


chains = _pieces.map(_chain)
"""Ascending disjoint regions of whole pages; often adjacent, sometimes with gaps."""


def bounds(regions: list[Region]) -> list[tuple[int, int]]:
    return [(region.start, region.end) for region in regions]


def covered(regions: list[Region]) -> list[tuple[int, int]]:
    """The addresses, as ranges; ascending and disjoint or the test fails here."""
    joined: list[tuple[int, int]] = []
    for start, end in bounds(regions):
        assert start < end
        assert not joined or joined[-1][1] <= start
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def copies(regions: list[Region]) -> list[Region]:
    return [
        Region(r.start, r.end, r.nr_accesses, r.last_nr_accesses, r.age, r.unknown, r.last_unknown)
        for r in regions
    ]
