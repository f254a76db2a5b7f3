# SPDX-License-Identifier: Apache-2.0
"""What is aimed at, held against what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

from tests.bench.outcomes.results import Outcome

WORST_PERCENT: Final = 3.0
MEAN_PERCENT: Final = 1.0
COLD_PERCENT: Final = 90.0
NOISE_PERCENT: Final = 0.1
NOISE_MIB: Final = 1.0
"""Better by no more than these is the same."""


@dataclass(frozen=True, slots=True)
class Aim:
    """`met` is None where nothing was measured that could tell. Judged is what is shown."""

    text: str
    met: bool | None
    measured: str


@dataclass(frozen=True, slots=True)
class Contest:
    """Who is judged, beside whom, and on which workloads."""

    variant: str
    rivals: Sequence[str]
    workloads: Sequence[str]


def judge(found: Sequence[Outcome], contest: Contest) -> list[Aim]:
    """All aims. None is met before all was measured that could miss it."""
    measured = {(one.workload, one.variant) for one in found}
    mine = [one for one in found if one.variant == contest.variant]
    theirs = [one for one in found if one.variant in contest.rivals]
    alone = {(name, contest.variant) for name in contest.workloads} <= measured
    beside = {(name, who) for name in contest.workloads for who in contest.rivals} <= measured
    return [
        *(_open(aim, complete=alone) for aim in (_worst(mine), _mean(mine), _cold(mine))),
        _open(_unbeaten(mine, theirs), complete=alone and beside),
    ]


def _open(aim: Aim, *, complete: bool) -> Aim:
    return aim if complete or not aim.met else replace(aim, met=None)


def _worst(mine: Sequence[Outcome]) -> Aim:
    text = f"runtime never above +{WORST_PERCENT:g} %, in no run of any workload"
    if not mine:
        return Aim(text, None, "not measured")
    worst = max(mine, key=lambda one: max(one.runtime.values))
    value = round(max(worst.runtime.values), 2)
    return Aim(text, value <= WORST_PERCENT, f"{value:+.2f} % ({worst.workload})")


def _mean(mine: Sequence[Outcome]) -> Aim:
    text = f"runtime at most +{MEAN_PERCENT:g} % in the mean of all workloads"
    if not mine:
        return Aim(text, None, "not measured")
    value = round(fmean(one.runtime.median for one in mine), 2)
    return Aim(text, value <= MEAN_PERCENT, f"{value:+.2f} % ({len(mine)} workloads)")


def _cold(mine: Sequence[Outcome]) -> Aim:
    text = f"at least {COLD_PERCENT:g} % of truly cold memory reclaimed, in every such workload"
    shares = {one.workload: one.cold.median for one in mine if one.cold}
    if not shares:
        return Aim(text, None, "not measured")
    listed = ", ".join(f"{name} {value:.0f} %" for name, value in shares.items())
    return Aim(text, min(shares.values()) >= COLD_PERCENT, listed)


def _unbeaten(mine: Sequence[Outcome], theirs: Sequence[Outcome]) -> Aim:
    text = "no variant better in both runtime and net memory, on any workload"
    if not mine or not theirs:
        return Aim(text, None, "not measured")
    beaten = [
        f"{other.variant} on {one.workload}"
        for one in mine
        for other in theirs
        if other.workload == one.workload and is_better(other, one)
    ]
    return Aim(text, not beaten, ", ".join(beaten) or "none is")


def is_better(one: Outcome, other: Outcome) -> bool:
    """In both, by medians, by more than noise."""
    faster = one.runtime.median < other.runtime.median - NOISE_PERCENT
    return faster and one.net.median > other.net.median + NOISE_MIB
