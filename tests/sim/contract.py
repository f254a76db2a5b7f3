"""What several parts of the contract suite stage."""

from __future__ import annotations

import pytest

from tests.sim.subject import CONTEXT, SCHEME, Subject

KTHREADD = 2
RANGE = (0x1000_0000, 0x1100_0000)


def at_least(damon: Subject, major: int, minor: int) -> None:
    """Skip the test on releases before `major`.`minor`."""
    if damon.kernel < (major, minor):
        pytest.skip(f"since {major}.{minor}")


def staged_filter(damon: Subject, layer: str = "filters") -> str:
    """Stage one kdamond with one filter in `layer`; the filter's path."""
    at_least(damon, 6, 3)
    damon.stage()
    damon.put(f"{SCHEME}/{layer}/nr_filters", 1)
    return f"{SCHEME}/{layer}/0"


def staged_regions(damon: Subject, target: int, *areas: tuple[int, int]) -> None:
    """Stage the ranges `areas` of a target."""
    base = f"{CONTEXT}/targets/{target}/regions"
    damon.put(f"{base}/nr_regions", len(areas))
    for index, (start, end) in enumerate(areas):
        damon.put(f"{base}/{index}/start", start)
        damon.put(f"{base}/{index}/end", end)
