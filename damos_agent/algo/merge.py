"""End of a window: regions grow older, and neighbours that look alike become one.

Why: alike neighbours need one sample, not two. After it the number of regions is within the
limit, unless gaps or the size limit forbid. Law: kdamond_merge_regions(), 7.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from damos_agent.algo.region import Region


def size_limit(total_bytes: int, min_nr: int, unit: int) -> int:
    """The largest region, in bytes, with which there are at least `min_nr` of them."""
    wanted = max(total_bytes // max(min_nr, 1), unit)
    return -(-wanted // unit) * unit


def age_and_merge(regions: list[Region], threshold: int, size_limit: int) -> list[Region]:
    """Age all regions of a target, then merge them. Changes them.

    A window in which nothing was seen, and some checks could not tell, adds no age.

    `threshold` is the difference of nr_accesses up to which two counts are alike; of `unknown`
    too, or what nobody can see would drown in a large idle neighbour.
    """
    for region in regions:
        nr, last = region.nr_accesses, region.last_nr_accesses
        if abs(nr - last) > threshold or (nr == 0) != (last == 0):
            region.age = 0
        elif nr or not region.unknown:
            region.age += 1
    return _merge(regions, threshold, size_limit)


def merge_to_limit(
    targets: list[list[Region]], *, max_nr: int, threshold: int, samples: int, size_limit: int
) -> list[list[Region]]:
    """Age and merge; while there are more than `max_nr` regions, merge less alike ones too.

    `samples`: the highest possible nr_accesses, at which all are alike.
    """
    merged = [age_and_merge(regions, threshold, size_limit) for regions in targets]
    while sum(map(len, merged)) > max_nr and threshold < samples:
        threshold = max(1, 2 * threshold) if threshold < samples // 2 else samples
        merged = [_merge(regions, threshold, size_limit) for regions in merged]
    return merged


def rejoin(left: Region, right: Region, size_limit: int) -> bool:
    """Undo a split whose parts still know the same: whether `left` now is both."""
    same = (
        left.end == right.start
        and left.age == right.age
        and left.nr_accesses == right.nr_accesses
        and left.last_nr_accesses == right.last_nr_accesses
        and left.unknown == right.unknown
        and left.last_unknown == right.last_unknown
        and right.end - left.start <= size_limit
    )
    if same:
        left.end = right.end
    return same


def _merge(regions: Iterable[Region], threshold: int, size_limit: int) -> list[Region]:
    kept: list[Region] = []
    left = Region(-1, -1)
    for right in regions:
        if (
            left.end == right.start
            and -threshold <= left.nr_accesses - right.nr_accesses <= threshold
            and -threshold <= left.unknown - right.unknown <= threshold
            and right.end - left.start <= size_limit
        ):
            _absorb(left, right)
        else:
            kept.append(right)
            left = right
    return kept


def _absorb(left: Region, right: Region) -> None:
    """Means by size. `unknown` is rounded up: what could not be told must not vanish."""
    ours, theirs = left.end - left.start, right.end - right.start
    both = ours + theirs
    left.nr_accesses = (left.nr_accesses * ours + right.nr_accesses * theirs) // both
    left.age = (left.age * ours + right.age * theirs) // both
    if left.unknown or right.unknown:
        left.unknown = -(-(left.unknown * ours + right.unknown * theirs) // both)
    left.end = right.end
