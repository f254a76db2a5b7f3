"""Begin of a window: regions are cut at random, so that what a merge hid is found again.

Law: kdamond_split_regions(), 7.3, which also splits when more than half of the allowed regions
are in use.
"""

from __future__ import annotations

from random import Random

from damos_agent.algo.region import Region


def split_at(region: Region, address: int) -> tuple[Region, Region]:
    """Cut at `address`: `region` itself becomes the left part, the right one knows the same."""
    right = Region(
        address,
        region.end,
        region.nr_accesses,
        region.last_nr_accesses,
        region.age,
        region.unknown,
        region.last_unknown,
    )
    region.end = address
    return region, right


def split(
    targets: list[list[Region]],
    *,
    max_nr: int,
    min_unit: int,
    previous_count: int,
    rotation: int,
    rng: Random,
) -> list[list[Region]]:
    """Cut regions as far as `max_nr` allows; never smaller than `min_unit` bytes. Changes them.

    `previous_count`: how many regions there were when this was called last; the same number
    again means that cutting in two finds nothing, so cut in three. `rotation` counts the calls.
    """
    count = sum(map(len, targets))
    if count >= max_nr:
        return targets
    if count > max_nr // 2:
        return _split_some(targets, max_nr // (max_nr - count), min_unit, rotation, rng)
    parts = 3 if count == previous_count and count < max_nr // 3 else 2
    return [_split_all(regions, parts, min_unit, rng) for regions in targets]


def enforce_min(regions: list[Region], size_limit: int) -> list[Region]:
    """Cut what is larger than `size_limit` bytes into pieces of it. Changes them."""
    pieces: list[Region] = []
    for region in regions:
        rest = region
        while rest.end - rest.start > size_limit:
            piece, rest = split_at(rest, rest.start + size_limit)
            pieces.append(piece)
        pieces.append(rest)
    return pieces


def _split_all(regions: list[Region], parts: int, unit: int, rng: Random) -> list[Region]:
    pieces: list[Region] = []
    for region in regions:
        rights: list[Region] = []
        for _ in range(parts - 1):
            if region.end - region.start > 2 * unit:
                rights += _cut(region, unit, rng)
        pieces.append(region)
        pieces += reversed(rights)
    return pieces


def _split_some(
    targets: list[list[Region]], step: int, unit: int, rotation: int, rng: Random
) -> list[list[Region]]:
    """Every `step`-th region in two, beginning elsewhere at each call: all get their turn."""
    index = rotation
    result: list[list[Region]] = []
    for regions in targets:
        pieces: list[Region] = []
        for region in regions:
            pieces.append(region)
            if index % step == 0 and region.end - region.start >= 2 * unit:
                pieces += _cut(region, unit, rng)
            index += 1
        result.append(pieces)
    return result


def _cut(region: Region, unit: int, rng: Random) -> list[Region]:
    """The right part of a cut after one to nine tenths; nothing where no whole unit is left."""
    size = region.end - region.start
    left = int(rng.random() * 9 + 1) * size // 10 // unit * unit
    return [split_at(region, region.start + left)[1]] if 0 < left < size else []
