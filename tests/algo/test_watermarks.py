"""Laws of the band of free memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from damos_agent.algo.watermarks import free_permil, is_active, wait_us
from damos_agent.model.damon import SchemeSpec

MARKED = SchemeSpec(
    "pageout",
    wmark_metric="free_mem_rate",
    wmark_interval_us=5_000_000,
    wmark_high=500,
    wmark_mid=400,
    wmark_low=200,
)


@pytest.mark.parametrize(
    ("permil", "was_active", "expected"),
    [
        (501, True, False),
        (199, True, False),
        (500, True, True),
        (500, False, False),
        (400, True, True),
        (400, False, False),
        (399, False, True),
        (200, False, True),
        (None, True, False),
    ],
)
def test_a_scheme_acts_within_its_band(
    permil: int | None, was_active: bool, expected: bool
) -> None:
    assert is_active(MARKED, permil, was_active) is expected


@pytest.mark.parametrize("permil", [None, 0, 1_000])
def test_without_a_metric_a_scheme_is_always_active(permil: int | None) -> None:
    assert is_active(replace(MARKED, wmark_metric="none"), permil, False)


def test_free_memory_is_rounded_down() -> None:
    assert free_permil(1_999, 1_000_000) == 1
    assert free_permil(0, 0) == 0


def test_all_wait_as_short_as_the_shortest_inactive() -> None:
    short = replace(MARKED, wmark_interval_us=1_000)
    assert wait_us([(MARKED, False), (short, False)]) == 1_000
    assert wait_us([(MARKED, True), (short, False)]) == 0
    assert wait_us([]) == 0
