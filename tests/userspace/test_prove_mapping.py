"""The vma probe proves itself, and one that lies is found out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import UnsupportedError
from damos_agent.userspace.mapping import VMA, VmaProbe
from damos_agent.userspace.probe import MappingUse, ProbeInfo
from damos_agent.userspace.prove_mapping import prove_mappings
from tests.userspace.child import MIB, child

TARGET = Placement(5, 6)
HOT, COLD = (0, 4 * MIB), (8 * MIB, 12 * MIB)
TRUE = (
    MappingUse(*HOT, 4 * MIB, 4 * MIB, 4 * MIB, 0, 0, 0),
    MappingUse(*COLD, 4 * MIB, 0, 4 * MIB, 0, 0, 0),
)


@dataclass
class Told:
    """A probe, its sampler and its specimen in one, which tells what it is told to tell."""

    uses: tuple[MappingUse, ...]
    placement: Placement = TARGET
    hot: tuple[int, int] = HOT
    cold: tuple[int, int] = COLD
    info: ProbeInfo = VMA
    closed: bool = False
    end: Exception | None = None
    foreign_clears: int = 0

    def open(self, process: Placement) -> Told:
        return self

    def clear(self) -> None:
        if self.end is not None:
            raise self.end

    def read(self) -> tuple[MappingUse, ...]:
        return self.uses

    def predicted_stall_us(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def rest(self, seconds: float) -> None:
        assert seconds > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="watching others needs root")
@pytest.mark.parametrize("huge", [False, True])
def test_the_vma_probe_passes_here(huge: bool) -> None:
    with child(8 * MIB, huge=huge) as specimen:
        specimen.do("keep")
        prove_mappings(VmaProbe(Roots()), specimen)


def test_the_truth_passes() -> None:
    told = Told(TRUE)
    prove_mappings(told, told)
    assert told.closed


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda hot, cold: (replace(hot, referenced=2 * MIB), cold), "only 50 % of memory in use"),
        (lambda hot, cold: (hot, replace(cold, referenced=MIB)), "25 % of idle memory"),
        (lambda hot, cold: (hot, replace(cold, rss=0)), "not told apart"),
        (lambda hot, cold: (replace(hot, end=12 * MIB),), "not told apart"),
        (lambda hot, cold: (), "not told apart"),
    ],
)
def test_a_lie_is_found_out(
    lie: Callable[[MappingUse, MappingUse], tuple[MappingUse, ...]], words: str
) -> None:
    told = Told(lie(*TRUE))
    with pytest.raises(UnsupportedError, match=words):
        prove_mappings(told, told)
    assert told.closed


def test_a_child_that_dies_proves_nothing() -> None:
    told = Told(TRUE, end=ProcessLookupError())
    with pytest.raises(UnsupportedError, match="gone"):
        prove_mappings(told, told)
    assert told.closed
