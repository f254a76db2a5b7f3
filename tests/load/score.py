# SPDX-License-Identifier: Apache-2.0
"""How well a snapshot of accesses tells the truth. Pure; all counts in bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Region(NamedTuple):
    """[start, end), the share of samples which found it accessed (0..1), and since when so."""

    start: int
    end: int
    rate: float
    age_s: float = 0.0


class Overlap(NamedTuple):
    """Bytes on which truth and snapshot are each of one opinion; `found` None: not covered."""

    size: int
    true: Region
    found: Region | None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Hot: rate >= `hot`. Cold: rate <= `cold`, for at least `min_age_s`."""

    hot: float = 0.5
    cold: float = 0.0
    min_age_s: float = 0.0

    def is_hot(self, region: Region | None) -> bool:
        return region is not None and region.rate >= self.hot

    def is_cold(self, region: Region | None) -> bool:
        return region is not None and region.rate <= self.cold and region.age_s >= self.min_age_s


@dataclass(frozen=True, slots=True)
class Share:
    """Of `true` bytes and `found` ones, `both` are the same."""

    true: int
    found: int
    both: int

    @property
    def precision(self) -> float:
        """1 if nothing was found: then nothing found is wrong."""
        return self.both / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """1 if there was nothing to find."""
        return self.both / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """`hot_as_cold`: truly hot bytes that were called cold; they would be paged out.

    `working_set_error`: found over true hot bytes, less 1 (0 if there were none and none found).
    `rate_error` and `age_error_s`: mean absolute errors over covered bytes; ages only count where
    both agree about being hot. `uncovered`: bytes of which the snapshot says nothing.
    """

    hot: Share
    cold: Share
    hot_as_cold: int
    working_set_error: float
    rate_error: float
    age_error_s: float
    uncovered: int


def score(
    truth: Sequence[Region], snapshot: Sequence[Region], limits: Thresholds | None = None
) -> Score:
    """Judge the snapshot where there is a truth; what it says of other memory does not count."""
    limits = limits or Thresholds()
    every = list(overlaps(truth, snapshot))
    hot = _share([(one.size, limits.is_hot(one.true), limits.is_hot(one.found)) for one in every])
    cold = _share([(o.size, limits.is_cold(o.true), limits.is_cold(o.found)) for o in every])
    alike = [one for one in every if limits.is_hot(one.true) == limits.is_hot(one.found)]
    return Score(
        hot,
        cold,
        sum(o.size for o in every if limits.is_hot(o.true) and limits.is_cold(o.found)),
        (hot.found / hot.true if hot.true else float(hot.found > 0) + 1) - 1,
        _mean((o.size, abs(o.true.rate - o.found.rate)) for o in every if o.found),
        _mean((o.size, abs(o.true.age_s - o.found.age_s)) for o in alike if o.found),
        sum(one.size for one in every if one.found is None),
    )


def _share(facts: list[tuple[int, bool, bool]]) -> Share:
    true = sum(size for size, is_true, _ in facts if is_true)
    found = sum(size for size, _, is_found in facts if is_found)
    return Share(true, found, sum(size for size, *both in facts if all(both)))


def _mean(errors: Iterator[tuple[int, float]]) -> float:
    weighted = list(errors)
    total = sum(size for size, _ in weighted)
    return sum(size * error for size, error in weighted) / total if total else 0.0


def overlaps(truth: Sequence[Region], snapshot: Sequence[Region]) -> Iterator[Overlap]:
    """All bytes of the truth, cut wherever the truth or the snapshot changes."""
    _require_order(truth)
    _require_order(snapshot)
    first = 0
    for true in truth:
        while first < len(snapshot) and snapshot[first].end <= true.start:
            first += 1
        yield from _cut(true, snapshot, first)


def _cut(true: Region, snapshot: Sequence[Region], first: int) -> Iterator[Overlap]:
    at = true.start
    for number in range(first, len(snapshot)):
        found = snapshot[number]
        if found.start >= true.end:
            break
        if found.start > at:
            yield Overlap(found.start - at, true, None)
        end = min(found.end, true.end)
        yield Overlap(end - max(at, found.start), true, found)
        at = end
    if at < true.end:
        yield Overlap(true.end - at, true, None)


def _require_order(regions: Sequence[Region]) -> None:
    for before, after in pairwise(regions):
        if before.end > after.start:
            raise ValueError(f"{after} comes before the end of {before}")
