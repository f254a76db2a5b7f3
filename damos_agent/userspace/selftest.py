"""Whether a probe tells the truth here, tried on a child whose use of memory is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from damos_agent.model.errors import UnsupportedError
from damos_agent.userspace.probe import PageProbe, PageSampler
from damos_agent.userspace.specimen import Specimen

__all__ = ["Specimen", "prove_pages"]

ROUNDS: Final = 5
PAGES: Final = 100
"""Samples of each half in a round."""
WAIT_S: Final = 0.15
LEAST_SHARE: Final = 0.95

_PAGE_BYTES: Final = 4096


def prove_pages(probe: PageProbe, spawn: Callable[[], Specimen] = Specimen) -> None:
    """Raise `UnsupportedError`, with what was measured, unless hot reads hot and cold reads cold.

    Samples that the probe cannot tell count against it. Takes a second. Other errors as
    `PageProbe.open`.
    """
    with spawn() as specimen:
        sampler = probe.open(specimen.placement)
        try:
            hot, cold = _shares(sampler, specimen)
        except ProcessLookupError as error:
            raise UnsupportedError(f"probe {probe.info.name}: its child has gone") from error
        finally:
            sampler.close()
    if min(hot, cold) < LEAST_SHARE:
        raise UnsupportedError(
            f"probe {probe.info.name} fails its test: of pages in use it saw {hot:.0%}, of idle "
            f"pages {cold:.0%} were told idle; {LEAST_SHARE:.0%} are asked for",
            hint="use another probe",
        )


def _shares(sampler: PageSampler, specimen: Specimen) -> tuple[float, float]:
    """Of hot samples those that read accessed, of cold ones those that read idle."""
    hot = cold = 0
    for _ in range(ROUNDS):
        sampler.arm(_pick(*specimen.hot) + _pick(*specimen.cold))
        specimen.rest(WAIT_S)
        found = sampler.check()
        hot += sum(1 for told in found[:PAGES] if told is True)
        cold += sum(1 for told in found[PAGES:] if told is False)
    return hot / (ROUNDS * PAGES), cold / (ROUNDS * PAGES)


def _pick(start: int, end: int) -> list[int]:
    pages = random.sample(range(start, end, _PAGE_BYTES), PAGES)
    return [address + 8 for address in pages]
