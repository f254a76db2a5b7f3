"""The self-test of a mapping probe: on a child of ours, of which we know what it accesses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from damos_agent.model.damon import Placement
from damos_agent.model.errors import UnsupportedError
from damos_agent.userspace.probe import MappingProbe, MappingSampler, MappingUse

ROUND_S: Final = 0.2
"""How long accesses are collected; the specimen must go over its hot half within it."""

_ROUNDS: Final = 2
_HOT_PERCENT: Final = 90
_COLD_PERCENT: Final = 2


class HotAndCold(Protocol):
    """A running child which keeps touching every page of `hot` and, once resident, none of `cold`.

    Both are (start, end) and lie in mappings of their own. A small `hot` is the harder test:
    clearing does not empty the TLB, and where accesses of what it holds go unseen, this must show.
    """

    @property
    def placement(self) -> Placement:
        """The child."""
        ...

    @property
    def hot(self) -> tuple[int, int]:
        """In use all the time."""
        ...

    @property
    def cold(self) -> tuple[int, int]:
        """Resident and idle."""
        ...

    def rest(self, seconds: float) -> None:
        """Wait for so long, and until the child has gone over all of `hot`."""
        ...


def prove_mappings(probe: MappingProbe, specimen: HotAndCold) -> None:
    """Raise `UnsupportedError`, with what was measured, unless hot reads hot and cold reads cold.

    Takes half a second. Other errors as `MappingProbe.open`.
    """
    name = probe.info.name
    try:
        sampler = probe.open(specimen.placement)
        try:
            doubts = [_doubt(sampler, specimen) for _ in range(_ROUNDS)]
        finally:
            sampler.close()
    except ProcessLookupError as error:
        raise UnsupportedError(f"probe {name}: its child has gone") from error
    for doubt in filter(None, doubts):
        raise UnsupportedError(f"probe {name} fails its test: {doubt}", hint="use another probe")


def _doubt(sampler: MappingSampler, specimen: HotAndCold) -> str:
    sampler.clear()
    specimen.rest(ROUND_S)
    uses = sampler.read()
    hot, cold = _holding(uses, specimen.hot), _holding(uses, specimen.cold)
    if hot is None or cold is None or hot is cold:
        return "the mappings of the self-test's child are not told apart"
    hot_percent, cold_percent = _percent(hot), _percent(cold)
    if hot_percent < _HOT_PERCENT:
        return f"only {hot_percent} % of memory in use was seen in use"
    if cold_percent > _COLD_PERCENT:
        return f"{cold_percent} % of idle memory was seen in use"
    return ""


def _holding(uses: Iterable[MappingUse], area: tuple[int, int]) -> MappingUse | None:
    start, end = area
    return next((use for use in uses if use.start <= start and end <= use.end and use.rss), None)


def _percent(use: MappingUse) -> int:
    return 100 * use.referenced // use.rss
