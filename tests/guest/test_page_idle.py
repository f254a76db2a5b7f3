"""The probe `page_idle` on a kernel with idle page tracking: it picks itself, and tells the truth.

Emulated processors keep translations for very long: whoever is hot here flushes its TLB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.policy import AddressRange, ProbeChoice
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.specimen import Specimen
from damos_agent.userspace.young import Young
from tests.guest.sampling import PAGES, only_pages_of, sampling, some, tail_share, tallies, told
from tests.load import smaps
from tests.load.layout import HotCold
from tests.load.load import Load
from tests.load.run import start

pytestmark = pytest.mark.guest(kernels=("7.3-idle",))

MIB = 1 << 20
HALF = 16 * MIB
LEAST = 0.95
HOT_COLD = HotCold(32 * MIB, 0, 16 * MIB)


def check(specimen: Specimen, wait_s: float) -> None:
    """Hot samples are told accessed, and what is told idle is cold; nearly all are told."""
    hot, cold = tallies(specimen, wait_s)
    print(f"hot {hot} cold {cold}")
    assert hot.accessed >= LEAST * hot.all
    assert cold.idle >= LEAST * cold.all
    assert cold.idle >= LEAST * (cold.idle + hot.idle)


def test_the_ladder_picks_it_by_itself() -> None:
    ladder = Ladder(RealFilesystem(), Roots())
    try:
        found = ladder.choose(ProbeChoice.AUTO)
        assert found.info.name == "page_idle"
        rungs = {rung.name: rung.reason for rung in ladder.rungs()}
    finally:
        ladder.close()
    assert rungs["page_idle"] == ""
    assert rungs["vma"] == "not needed: a better one works"


@pytest.mark.parametrize("wait_s", [0.1, 1.0])
def test_small_pages_are_told_apart(wait_s: float) -> None:
    with Specimen(half_bytes=HALF) as specimen:
        assert tail_share(specimen) == 0
        check(specimen, wait_s)


@pytest.mark.parametrize("wait_s", [0.1, 1.0])
def test_huge_pages_are_told_apart_by_any_of_their_pages(wait_s: float) -> None:
    with Specimen(huge=True, half_bytes=HALF) as specimen:
        assert tail_share(specimen) == 511 / 512
        check(specimen, wait_s)


def test_folios_of_other_sizes_are_told_apart() -> None:
    with only_pages_of("64kB"), Specimen(huge=True, half_bytes=HALF) as specimen:
        assert tail_share(specimen) == 15 / 16
        check(specimen, 0.1)


@contextmanager
def stepped(kind: str) -> Iterator[Load]:
    """A load that does a round when told to."""
    with start(HOT_COLD, kind, "--stepped", "--flush") as load:
        load.step()
        yield load


@pytest.mark.parametrize("kind", ["anon", "thp", "shared", "private"])
def test_one_access_is_enough_and_none_is_none(kind: str) -> None:
    """Also of shared memory and of files."""
    with stepped(kind) as load, sampling(load.placement()) as sampler:
        hot = some(load.base, load.base + HOT_COLD.hot_bytes)
        sampler.arm(hot)
        assert told(sampler).idle >= LEAST * PAGES
        sampler.arm(hot)
        load.step()
        assert told(sampler).accessed >= LEAST * PAGES


@pytest.mark.parametrize("kind", ["anon", "thp"])
def test_the_filter_young_asks_each_page_and_makes_it_old(kind: str) -> None:
    """So it tells what was accessed since it was asked last."""
    whole_bytes, hot_bytes = HOT_COLD.total, HOT_COLD.hot_bytes
    with stepped(kind) as load, sampling(load.placement()) as sampler:
        where = AddressRange(load.base, load.base + whole_bytes)
        sampler.take_young(where)
        assert bytes_of(sampler.take_young(where), young=False) >= LEAST * whole_bytes
        load.step()
        found = sampler.take_young(where)
    assert bytes_of(found, young=True) >= LEAST * hot_bytes
    assert bytes_of(found, young=False) >= LEAST * (whole_bytes - hot_bytes)


def bytes_of(found: list[Young], *, young: bool) -> int:
    return sum(where.end - where.start for where, told in found if told is young)


@pytest.mark.parametrize("kind", ["anon", "thp"])
def test_who_else_clears_accessed_bits_makes_memory_look_idle(kind: str) -> None:
    """The weakness that its `limits` tell of; a second sample finds what is still in use."""
    with stepped(kind) as load, sampling(load.placement()) as sampler:
        hot = some(load.base, load.base + HOT_COLD.hot_bytes)
        sampler.arm(hot)
        load.step()
        Path(f"/proc/{load.pid}/clear_refs").write_text("1")
        assert told(sampler).idle >= LEAST * PAGES
        sampler.arm(hot)
        load.step()
        assert told(sampler).accessed >= LEAST * PAGES


def test_others_still_see_the_accesses_that_sampling_forgets() -> None:
    with stepped("anon") as load, sampling(load.placement()) as sampler:
        Path(f"/proc/{load.pid}/clear_refs").write_text("1")
        load.step()
        before = referenced(load)
        assert before >= HOT_COLD.hot_bytes
        sampler.arm(some(load.base, load.base + HOT_COLD.hot_bytes))
        assert referenced(load) == before


def referenced(load: Load) -> int:
    return smaps.sums(smaps.read(load.pid), load.parts(), "Referenced")
