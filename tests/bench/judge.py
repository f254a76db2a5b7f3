# SPDX-License-Identifier: Apache-2.0
"""What a snapshot is worth beside the truth of the loads it is about, and of a series of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from damos_agent.model.userspace import Snapshot
from tests.load.layout import Range
from tests.load.load import Load
from tests.load.score import Region, Thresholds, overlaps, score

_APART = 1 << 48
"""Between the addresses of one process and the next, so that all can be judged as one."""
FOUND = 0.9
"""The recall from which on hot memory counts as found."""
_COLD_WINDOWS = 3
"""Idle for so many aggregations on end is cold."""

_BORDER = 0.1
"""Memory whose true rate is as near to that from which it is hot may be called either."""

Rows = Mapping[int, Sequence[Region]]


@dataclass(frozen=True, slots=True)
class Seen:
    """Regions by pid, as one aggregation of `aggr_s` has shown them.

    `whole`: bytes of a mapping were looked at once, at the end of it; else single pages, every
    `sample_s`.
    """

    rows: Rows
    sample_s: float
    aggr_s: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A snapshot judged `at_s` seconds after watching began; shares of bytes, errors as in Score.

    `mapping_error`: of the mapping told worst, found share less true one.
    """

    at_s: float
    precision: float
    recall: float
    f1: float
    working_set_error: float
    rate_error: float
    age_error_s: float
    cold_found: float
    hot_as_cold: float
    mapping_error: float
    sample_s: float
    regions: float


FIGURES = tuple(name for name in Moment.__dataclass_fields__ if name != "at_s")


def seen(snapshot: Snapshot) -> Seen:
    """From what our monitor tells."""
    rows: dict[int, list[Region]] = {}
    for one in snapshot.regions:
        rate = one.nr_accesses / snapshot.samples
        rows.setdefault(one.pid, []).append(Region(one.start, one.end, rate, one.age_us / 1e6))
    whole = snapshot.granularity == "mapping"
    return Seen(rows, snapshot.sample_us / 1e6, snapshot.aggr_us / 1e6, whole)


def judge(at_s: float, found: Seen, loads: Sequence[Load]) -> Moment:
    """Against what the loads did in the aggregation that has just ended."""
    truths = [_truth(load, found, at_s) for load in loads]
    rows = [found.rows.get(load.pid, ()) for load in loads]
    limits = Thresholds(min_age_s=_COLD_WINDOWS * found.aggr_s)
    told = score(clear(_joined(truths), limits), _joined(rows), limits)
    rates = score(_joined(truths), _joined(rows), limits)
    worst = max(
        _worst(load.parts(), truth, row)
        for load, truth, row in zip(loads, truths, rows, strict=True)
    )
    return Moment(
        at_s,
        told.hot.precision,
        told.hot.recall,
        told.hot.f1,
        told.working_set_error,
        rates.rate_error,
        told.age_error_s,
        told.cold.recall,
        told.hot_as_cold / told.hot.true if told.hot.true else 0.0,
        worst,
        found.sample_s,
        sum(len(row) for row in rows),
    )


def _truth(load: Load, found: Seen, at_s: float) -> list[Region]:
    """In the terms of the monitor: samples as long as its own, no age before it began."""
    rounds = load.rounds_during(found.aggr_s)
    per_s = load.speed(max(found.aggr_s, 1.0)).rounds_per_s
    samples = len(rounds) if found.whole else min(len(rounds), round(found.sample_s * per_s))
    told = load.truth_of(rounds, max(samples, 1), len(rounds), 1 / per_s)
    return [one._replace(age_s=min(one.age_s, at_s)) for one in told]


def clear(truth: Iterable[Region], limits: Thresholds) -> list[Region]:
    """What of the truth is hot, or is not, without any doubt."""
    return [one for one in truth if abs(one.rate - limits.hot) >= _BORDER]


def _joined(processes: Iterable[Sequence[Region]]) -> list[Region]:
    return [
        one._replace(start=one.start + number * _APART, end=one.end + number * _APART)
        for number, regions in enumerate(processes)
        for one in regions
    ]


def _worst(parts: Iterable[Range], truth: Sequence[Region], row: Sequence[Region]) -> float:
    return max(abs(error) for error in mapping_errors(parts, truth, row))


def mapping_errors(
    parts: Iterable[Range], truth: Sequence[Region], found: Sequence[Region]
) -> list[float]:
    """Of each mapping: the share found to be accessed, less the true share."""
    every = list(overlaps(truth, found))
    errors = []
    for start, end in parts:
        mine = [one for one in every if start <= one.true.start < end]
        size = sum(one.size for one in mine)
        wrong = sum(one.size * (_rate(one.found) - one.true.rate) for one in mine)
        errors.append(wrong / size if size else 0.0)
    return errors


def _rate(region: Region | None) -> float:
    return region.rate if region else 0.0


def summary(moments: Sequence[Moment], settled_s: float) -> dict[str, float | None]:
    """Medians of what was told from `settled_s` on, and when the hot memory was first found."""
    late = [asdict(one) for one in moments if one.at_s >= settled_s]
    if not late:
        raise ValueError(f"nothing was told after {settled_s:.0f} s")
    first = next((one.at_s for one in moments if one.recall > FOUND), None)
    figures: dict[str, float | None] = {n: median(one[n] for one in late) for n in FIGURES}
    return {**figures, "found_s": first, "snapshots": len(late)}
