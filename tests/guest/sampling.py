"""Samples of memory whose use is known, taken by the probe `page_idle`, and how they turned out."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.folio import COMPOUND_TAIL, PageFlags
from damos_agent.host.pagemap import Pagemap, frame
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.userspace.page_idle import PageIdleProbe
from damos_agent.userspace.probe import PageSampler
from damos_agent.userspace.specimen import Specimen
from tests.load.layout import PAGE
from tests.vm.guestlib import require_guest

ROUNDS, PAGES = 10, 100
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")


@dataclass(slots=True)
class Tally:
    """Samples of one half by what they were told: accessed, idle, unknown."""

    accessed: int = 0
    idle: int = 0
    unknown: int = 0

    def count(self, found: list[bool | None]) -> None:
        self.accessed += found.count(True)
        self.idle += found.count(False)
        self.unknown += found.count(None)

    @property
    def all(self) -> int:
        return self.accessed + self.idle + self.unknown


@contextmanager
def sampling(placement: Placement) -> Iterator[PageSampler]:
    probe = PageIdleProbe(RealFilesystem(), Roots())
    sampler = probe.open(placement)
    try:
        yield sampler
    finally:
        sampler.close()
        probe.close()


def some(start_: int, end: int) -> list[int]:
    return [page + 8 for page in random.sample(range(start_, end, PAGE), PAGES)]


def tallies(specimen: Specimen, wait_s: float) -> tuple[Tally, Tally]:
    """Of the hot and of the cold half, over all rounds."""
    hot, cold = Tally(), Tally()
    with sampling(specimen.placement) as sampler:
        for _ in range(ROUNDS):
            sampler.arm(some(*specimen.hot) + some(*specimen.cold))
            time.sleep(wait_s)
            found = sampler.check()
            hot.count(found[:PAGES])
            cold.count(found[PAGES:])
    return hot, cold


def told(sampler: PageSampler) -> Tally:
    found = Tally()
    found.count(sampler.check())
    return found


def tail_share(specimen: Specimen) -> float:
    """Of the hot half's pages, those that are tails of large folios."""
    flags = PageFlags(Roots())
    with Pagemap(specimen.pid) as pagemap:
        frames = [frame(entry) for entry in pagemap.range_entries(*specimen.hot)]
    tails = sum(bool(flags.flags(pfn) & COMPOUND_TAIL) for pfn in frames if pfn)
    flags.close()
    return tails / len(frames)


@contextmanager
def only_pages_of(size: str) -> Iterator[None]:
    """Who asks for huge pages gets those."""
    require_guest()
    knobs = {path: path.read_text() for path in _HUGE_PAGES.glob("hugepages-*/enabled")}
    for path in knobs:
        path.write_text("madvise" if path.parent.name == f"hugepages-{size}" else "never")
    try:
        yield
    finally:
        for path, text in knobs.items():
            path.write_text(text.partition("[")[2].partition("]")[0])
