# SPDX-License-Identifier: Apache-2.0
"""Measured cells, and what they come to beside the baseline. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from tests.bench.outcomes.catalogue import NONE
from tests.bench.spread import Spread, spread


@dataclass(frozen=True, slots=True)
class Cell:
    """What one run of one workload under one variant gave; `figures` as cell.py prints them."""

    kernel: str
    seconds: float
    workload: str
    variant: str
    run: int
    figures: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, float, str, str, int]:
        return self.kernel, self.seconds, self.workload, self.variant, self.run

    @property
    def runtime_s(self) -> float:
        """The time that the fixed work took; pauses between steps are no part of it."""
        return float(sum(self.figures["phases_s"]))

    @property
    def footprint_mib(self) -> float:
        """Memory that is gone for others: resident, compressed, and of whoever manages it."""
        return float(sum(self.figures[name] for name in ("rss_mib", "zram_mib", "agent_mib")))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A variant on a workload, over all runs, beside the median of the baseline.

    Shares are in percent of it. `cold` is None where nothing is truly cold.
    """

    workload: str
    variant: str
    runtime: Spread
    worst_phase: Spread
    rss: Spread
    gross: Spread
    net: Spread
    net_share: Spread
    refaults_anon: Spread
    refaults_file: Spread
    cpu: Spread
    cold: Spread | None

    @property
    def runs(self) -> int:
        return len(self.runtime.values)


def outcomes(cells: Iterable[Cell]) -> list[Outcome]:
    """Of each variant of each workload of which there is a baseline, in the order met."""
    grouped: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        grouped.setdefault((cell.workload, cell.variant), []).append(cell)
    return [
        outcome(grouped[workload, NONE], runs)
        for (workload, _), runs in grouped.items()
        if (workload, NONE) in grouped
    ]


def outcome(baseline: Sequence[Cell], runs: Sequence[Cell]) -> Outcome:
    """Raises ValueError where nothing was measured."""
    base_s = median(one.runtime_s for one in baseline)
    phases = [median(column) for column in zip(*_phases(baseline), strict=True)]
    rss = median(one.figures["rss_mib"] for one in baseline)
    footprint = median(one.footprint_mib for one in baseline)
    saved = [footprint - one.footprint_mib for one in runs]
    return Outcome(
        runs[0].workload,
        runs[0].variant,
        spread([100 * (one.runtime_s / base_s - 1) for one in runs], "%"),
        spread([worst(one.figures["phases_s"], phases) for one in runs], "%"),
        spread([100 * one.figures["rss_mib"] / rss for one in runs], "%"),
        spread([rss - one.figures["rss_mib"] for one in runs], "MiB"),
        spread(saved, "MiB"),
        spread([100 * one / footprint for one in saved], "%"),
        spread([one.figures["workingset_refault_anon"] for one in runs], ""),
        spread([one.figures["workingset_refault_file"] for one in runs], ""),
        spread([one.figures["cpu_percent"] for one in runs], "%"),
        _cold(runs),
    )


def worst(phases_s: Sequence[float], usual_s: Sequence[float]) -> float:
    """By how many percent the phase that suffered most was longer than it usually is."""
    return max(100 * (one / usual - 1) for one, usual in zip(phases_s, usual_s, strict=True))


def _phases(cells: Sequence[Cell]) -> list[Sequence[float]]:
    return [cell.figures["phases_s"] for cell in cells]


def _cold(runs: Sequence[Cell]) -> Spread | None:
    shares = [
        100 * one.figures["cold_reclaimed_bytes"] / one.figures["cold_bytes"]
        for one in runs
        if one.figures["cold_bytes"]
    ]
    return spread(shares, "%") if shares else None


@dataclass(frozen=True, slots=True)
class Overall:
    """A variant over several workloads, each counting the same: means of their medians."""

    variant: str
    workloads: int
    runtime: float
    runtime_worst: float
    net_share: float
    cpu: float


def overall(found: Sequence[Outcome], variant: str) -> Overall | None:
    """None where it was not measured."""
    mine = [one for one in found if one.variant == variant]
    if not mine:
        return None
    return Overall(
        variant,
        len(mine),
        fmean(one.runtime.median for one in mine),
        max(max(one.runtime.values) for one in mine),
        fmean(one.net_share.median for one in mine),
        fmean(one.cpu.median for one in mine),
    )


def merged(old: Iterable[Cell], new: Iterable[Cell]) -> list[Cell]:
    """What was measured again is replaced."""
    cells = {cell.key: cell for cell in old}
    cells.update({cell.key: cell for cell in new})
    return list(cells.values())


def dump(cells: Iterable[Cell]) -> str:
    """One line a cell, so that a change shows what was measured anew."""
    lines = ",\n".join(json.dumps(_rounded(asdict(cell))) for cell in cells)
    return f'{{"cells": [\n{lines}\n]}}\n'


def load(text: str) -> list[Cell]:
    return [Cell(**one) for one in json.loads(text)["cells"]]


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 6)
        case dict():
            return {name: _rounded(one) for name, one in value.items()}
        case list() | tuple():
            return [_rounded(one) for one in value]
    return value
