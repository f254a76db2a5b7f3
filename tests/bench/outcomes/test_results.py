# SPDX-License-Identifier: Apache-2.0
"""From measured cells to figures, and what is aimed at held against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.bench.outcomes.aims import Contest, is_better, judge
from tests.bench.outcomes.results import (
    Cell,
    Outcome,
    dump,
    load,
    merged,
    outcomes,
    overall,
    worst,
)
from tests.bench.spread import spread

FIGURES: Mapping[str, Any] = {
    "phases_s": [1.0, 1.0],
    "rss_mib": 100.0,
    "zram_mib": 0.0,
    "agent_mib": 0.0,
    "workingset_refault_anon": 0,
    "workingset_refault_file": 0,
    "cpu_percent": 0.0,
    "cold_bytes": 80,
    "cold_reclaimed_bytes": 0,
    "elapsed_s": 300.0,
}


def cell(variant: str, run: int = 0, workload: str = "w", **figures: Any) -> Cell:
    return Cell("7.3", 300.0, workload, variant, run, {**FIGURES, **figures})


def by_variant(*cells: Cell) -> dict[str, Outcome]:
    return {one.variant: one for one in outcomes(cells)}


def test_a_variant_is_told_beside_the_median_of_the_baseline() -> None:
    """Runtime by the sum of phases, RSS in percent, net less zram and agent."""
    runs = [cell("none", n, phases_s=[t, t]) for n, t in enumerate((0.9, 1.0, 9.0))]
    figures: dict[str, Any] = {
        "rss_mib": 40.0,
        "zram_mib": 20.0,
        "agent_mib": 5.0,
        "cold_reclaimed_bytes": 60,
    }
    found = by_variant(*runs, cell("ours", phases_s=[1.0, 1.1], **figures))["ours"]
    assert found.runtime.median == pytest.approx(5)
    assert found.worst_phase.median == pytest.approx(10)
    assert found.rss.median == pytest.approx(40)
    assert (found.gross.median, found.net.median) == pytest.approx((60, 35))
    assert found.net_share.median == pytest.approx(35)
    assert found.cold is not None
    assert found.cold.median == pytest.approx(75)


def test_what_the_baseline_compresses_counts_for_it() -> None:
    """A squeezed group takes zram without anybody's doing."""
    base = cell("none", zram_mib=30.0)
    found = by_variant(base, cell("ours", rss_mib=90.0, zram_mib=35.0))["ours"]
    assert (found.gross.median, found.net.median) == pytest.approx((10, 5))


def test_a_workload_without_cold_memory_has_no_share_of_it() -> None:
    """Nothing of nothing is no figure."""
    assert by_variant(cell("none", cold_bytes=0))["none"].cold is None


def test_a_workload_without_baseline_is_left_out() -> None:
    """There is nothing to hold it against."""
    assert outcomes([cell("ours")]) == []


def test_the_worst_phase_is_the_one_that_grew_most() -> None:
    """Not the longest."""
    assert worst([10.0, 2.0], [10.0, 1.0]) == pytest.approx(100)


def test_what_is_measured_again_is_replaced() -> None:
    """And survives being written and read."""
    old, new = cell("ours", rss_mib=1.0), cell("ours", rss_mib=2.0)
    kept = load(dump(merged([old, cell("none")], [new])))
    assert [(one.variant, one.figures["rss_mib"]) for one in kept] == [("ours", 2.0), ("none", 100)]


def test_overall_counts_each_workload_the_same() -> None:
    """Means of medians; the worst is the worst of all runs."""
    cells = [cell("none"), cell("none", workload="v")]
    cells += [cell("ours", n, phases_s=[1.0, t]) for n, t in enumerate((1.0, 1.0, 1.2))]
    cells += [cell("ours", workload="v", phases_s=[1.0, 1.04], cpu_percent=4.0)]
    found = overall(outcomes(cells), "ours")
    assert found is not None
    assert (found.workloads, found.runtime, found.cpu) == pytest.approx((2, 1, 2))
    assert found.runtime_worst == pytest.approx(10)
    assert overall(outcomes(cells), "theirs") is None


def held(*cells: Cell) -> list[bool | None]:
    """With every workload that there is a baseline of, but for rivals."""
    names = dict.fromkeys(one.workload for one in cells)
    contest = Contest("ours", ["theirs"], list(names))
    return [aim.met for aim in judge(outcomes(cells), contest)]


def test_aims_are_met_at_their_very_bounds() -> None:
    """+3 % in one of two workloads, a mean of +1 %, 90 % of the cold, nobody better."""
    cells = [cell("none", phases_s=[100.0]), cell("none", workload="v", phases_s=[100.0])]
    cells += [cell("ours", phases_s=[103.0], cold_reclaimed_bytes=72)]
    cells += [cell("ours", workload="v", phases_s=[99.0], cold_reclaimed_bytes=80)]
    cells += [cell("theirs", workload=name, phases_s=[103.0]) for name in "wv"]
    assert held(*cells) == [True, True, True, True]


def test_one_bad_run_misses_the_aim_of_never() -> None:
    """Though the median be fine."""
    runs = [cell("ours", n, phases_s=[1.0, t]) for n, t in enumerate((1.0, 1.0, 1.1))]
    assert held(cell("none"), *runs)[:2] == [False, True]


def test_the_mean_may_be_missed_where_no_workload_is() -> None:
    """+2 % everywhere."""
    assert held(cell("none"), cell("ours", phases_s=[1.02, 1.02]))[:2] == [True, False]


def test_cold_memory_must_go_in_every_workload() -> None:
    """A mean would hide the one that keeps it."""
    cells = [cell("none"), cell("none", workload="v")]
    cells += [cell("ours", cold_reclaimed_bytes=80)]
    assert held(*cells, cell("ours", workload="v", cold_reclaimed_bytes=70))[2] is False


def test_a_rival_that_is_better_in_both_is_named() -> None:
    """Better in one is a choice, not a defeat."""
    base, ours = cell("none"), cell("ours", phases_s=[1.01, 1.01], rss_mib=90.0)
    rival = cell("theirs", rss_mib=80.0)
    aim = judge(outcomes([base, ours, rival]), Contest("ours", ["theirs"], ["w"]))[3]
    assert (aim.met, aim.measured) == (False, "theirs on w")
    assert held(base, ours, cell("theirs", rss_mib=95.0))[3] is True


def test_aims_without_figures_are_open() -> None:
    """What was not measured is neither met nor missed."""
    assert held(cell("none")) == [None, None, None, None]
    assert held(cell("none", cold_bytes=0), cell("ours", cold_bytes=0))[2:] == [None, None]


def test_no_aim_is_met_before_all_is_measured() -> None:
    """But one may be missed by what there is."""
    part = [cell("none"), cell("none", workload="v"), cell("ours", cold_reclaimed_bytes=80)]
    assert held(*part) == [None, None, None, None]
    assert held(*part[:2], cell("ours", phases_s=[2.0, 2.0]))[:2] == [False, False]


def test_noise_makes_nobody_better() -> None:
    """A tenth of a percent, or one MiB, is none."""
    ours = by_variant(cell("none"), cell("ours", phases_s=[1.01, 1.01]))["ours"]
    same_time = replace(ours, net=spread([50.0], "MiB"))
    same_size = replace(ours, runtime=spread([0.0], "%"))
    assert not is_better(same_time, ours)
    assert not is_better(same_size, ours)
    assert is_better(replace(same_size, net=same_time.net), ours)
