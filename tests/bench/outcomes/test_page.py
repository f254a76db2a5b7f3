# SPDX-License-Identifier: Apache-2.0
"""The page and the picture."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from tests.bench.outcomes import pareto
from tests.bench.outcomes.aims import Aim
from tests.bench.outcomes.page import Made, aims, page, told
from tests.bench.outcomes.results import outcomes
from tests.bench.outcomes.test_results import cell
from tests.bench.spread import spread

MADE = Made("make it", "4 of 9", "2026-01-02", "abc", "7.3", 300.0)
CELLS = [
    cell("none", workload="hotcold"),
    *(cell("ours", n, "hotcold", rss_mib=60.0 + n, phases_s=[1.0, 1.02]) for n in range(3)),
]


def test_a_page_has_command_aims_and_the_row_of_each_variant() -> None:
    """Medians with their spread; what was not measured has no heading."""
    text = page(CELLS, MADE)
    assert "Made by `make it` on 2026-01-02: 4 of 9 runs so far" in text
    assert "| ours | 3 | +1.00 % | +2.0 % | 61.0 % (60.0 to 62.0) | 39 MiB (38 to 40) |" in text
    assert "## hotcold" in text
    assert "## redis" not in text


def test_the_seeds_workload_is_not_judged() -> None:
    """It is a table of its own: its harm is on purpose."""
    bad = [cell("none", workload="seed"), cell("ours", workload="seed", phases_s=[2.0, 2.0])]
    text = page([*CELLS, *bad], MADE)
    assert "| +1.00 % (hotcold) |" in text
    assert "## The seed's table" in text


def test_an_aim_that_is_missed_stands_out() -> None:
    """And one that nothing tells of is open."""
    text = aims([Aim("a", True, "1"), Aim("b", False, "2"), Aim("c", None, "3")])
    assert [line.split(" | ")[1] for line in text.splitlines()[2:]] == ["met", "**missed**", "open"]


def test_nought_has_no_sign_of_its_own() -> None:
    """A thousandth less than nothing is nothing."""
    assert told(spread([-0.001], "%"), 2, "+") == "+0.00 %"
    assert told(spread([-0.001, -1.0], "%"), 1) == "-0.5 % (-1.0 to 0.0)"


@pytest.mark.parametrize(("extent", "step"), [(1, 0.2), (10, 2), (13, 5), (50, 10), (0.04, 0.01)])
def test_steps_are_round(extent: float, step: float) -> None:
    """And there are never many."""
    assert pareto.round_step(extent) == pytest.approx(step)


def test_an_axis_holds_nought_and_all_values() -> None:
    """With room around; also where all are the same."""
    axis = pareto.axis([2.0, 10.0], 0.0, 100.0)
    assert axis.low < 0 < 10 < axis.high
    assert axis.place(axis.low) == 0
    assert axis.place(axis.high) == pytest.approx(100)
    assert pareto.axis([0.0], 0.0, 1.0).ticks


def test_a_bent_axis_keeps_small_things_apart_beside_great_ones() -> None:
    """One percent has its place, though another took a hundred more; order stays."""
    axis = pareto.axis([-1.0, 0.0, 1.0, 100.0], 0.0, 100.0, bent=True)
    places = [axis.place(value) for value in (-1.0, 0.0, 1.0, 10.0, 100.0)]
    assert places == sorted(places)
    assert min(b - a for a, b in pairwise(places)) > 10
    assert {-1.0, 0.0, 1.0, 100.0} <= set(axis.ticks)


def test_a_mean_is_of_those_measured_everywhere() -> None:
    """Else it would be of something else."""
    one = pareto.Point("a", 1.0, 2.0, (0.0, 2.0), (2.0, 2.0))
    other = pareto.Point("a", 3.0, 4.0, (3.0, 3.0), (4.0, 4.0))
    lone = pareto.Point("b", 1.0, 1.0, (1.0, 1.0), (1.0, 1.0))
    assert pareto.mean_points([[one, lone], [other]]) == [
        pareto.Point("a", 2.0, 3.0, (2.0, 2.0), (3.0, 3.0))
    ]


def test_the_picture_is_well_formed_and_names_everything() -> None:
    """A panel for the mean and one for each workload measured; a legend of all variants."""
    variants = ["none", "damo <x>", "ours"]
    text = pareto.svg(outcomes(CELLS), ["cyclic", "hotcold"], variants)
    root = ET.fromstring(text)
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"mean of all workloads", "hotcold", *variants} <= set(words)
    assert "cyclic" not in words
    assert words.count("runtime added, % (not linear)") == 2
    assert len(re.findall(r"<path ", text)) == 2 * 2 + len(variants)


def test_no_two_variants_look_alike() -> None:
    """Neither in colour nor in shape."""
    assert len({colour for colour, _ in pareto.STYLES}) == len(pareto.STYLES)
    assert len({shape for _, shape in pareto.STYLES}) == len(pareto.STYLES)


def test_without_a_baseline_there_is_a_page_and_a_picture_all_the_same() -> None:
    """A part that was measured first must not end the rest."""
    lone = [cell("ours", workload="hotcold")]
    assert "| open | not measured |" in page(lone, MADE)
    ET.fromstring(pareto.svg(outcomes(lone), ["hotcold"], ["none", "ours"]))
