"""What `page_idle` makes of the kernel's answers; the kernel is a few files here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.folio import COMPOUND_HEAD, COMPOUND_TAIL, IDLE, LOCKED, LRU
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.page_idle import PageIdleProbe
from damos_agent.userspace.probe import PageSampler
from tests.userspace.child import placement_of

PAGE = 4096
PRESENT = 1 << 63
ADDRESS, PFN = 16 * PAGE, 1024 + 64


@dataclass(frozen=True, slots=True)
class Machine:
    """A directory with this process's pagemap, the flags of all frames, and the bitmap."""

    base: Path

    @property
    def roots(self) -> Roots:
        return Roots(sysfs=str(self.base / "sys"), proc=str(self.base / "proc"))

    @property
    def bitmap(self) -> Path:
        return self.base / "sys/kernel/mm/page_idle/bitmap"

    def make(self) -> None:
        own = self.base / "proc" / str(os.getpid())
        own.mkdir(parents=True)
        (own / "stat").write_bytes(Path("/proc/self/stat").read_bytes())
        self.bitmap.parent.mkdir(parents=True)
        for path in (own / "pagemap", self.base / "proc/kpageflags", self.bitmap):
            path.write_bytes(bytes(2048 * 8))
        (self.base / "proc/kpagecount").touch()

    def map(self, entry: int, address: int = ADDRESS) -> None:
        """The entry of the page at that address."""
        _put(self.base / "proc" / str(os.getpid()) / "pagemap", address // PAGE, entry)

    def flag(self, pfn: int, flags: int) -> None:
        _put(self.base / "proc/kpageflags", pfn, flags)

    def idle(self, pfn: int, idle: bool) -> None:
        _put(self.bitmap, pfn // 64, idle << pfn % 64)

    def marked(self) -> list[int]:
        """The frames whose bits are set."""
        bits = int.from_bytes(self.bitmap.read_bytes(), "little")
        return [at for at in range(bits.bit_length()) if bits >> at & 1]


def _put(path: Path, index: int, value: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(index * 8)
        stream.write(value.to_bytes(8, "little"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One page at ADDRESS, in frame PFN; what is marked idle counts as taken."""
    made = Machine(tmp_path)
    made.make()
    made.map(PRESENT | PFN)
    made.flag(PFN, LRU | IDLE)
    return made


@pytest.fixture
def sampler(machine: Machine) -> Iterator[PageSampler]:
    probe = PageIdleProbe(RealFilesystem(), machine.roots)
    made = probe.open(placement_of(os.getpid()))
    yield made
    made.close()
    probe.close()


def test_what_stays_marked_is_idle(machine: Machine, sampler: PageSampler) -> None:
    sampler.arm([ADDRESS + 8])
    assert machine.marked() == [PFN]
    assert sampler.check() == [False]


@pytest.mark.parametrize("flags", [LRU, LRU | LOCKED])
def test_what_is_marked_no_longer_was_accessed(
    machine: Machine, sampler: PageSampler, flags: int
) -> None:
    sampler.arm([ADDRESS])
    machine.idle(PFN, False)
    machine.flag(PFN, flags)
    assert sampler.check() == [True]


def test_of_a_folio_the_head_is_marked(machine: Machine, sampler: PageSampler) -> None:
    head = 1024
    machine.flag(head, LRU | IDLE | COMPOUND_HEAD)
    for pfn in range(head + 1, head + 512):
        machine.flag(pfn, COMPOUND_TAIL)
    sampler.arm([ADDRESS])
    assert machine.marked() == [head]
    assert sampler.check() == [False]
    machine.flag(PFN, LRU)
    assert sampler.check() == [None], "it was split"


@pytest.mark.parametrize("flags", [0, LRU, LRU | IDLE | LOCKED])
def test_what_the_kernel_did_not_take_is_unknown(
    machine: Machine, sampler: PageSampler, flags: int
) -> None:
    machine.flag(PFN, flags)
    sampler.arm([ADDRESS])
    machine.flag(PFN, LRU | IDLE)
    assert sampler.check() == [None]


@pytest.mark.parametrize(
    ("idle", "flags"),
    [(True, LRU | IDLE | LOCKED), (False, IDLE)],
    ids=["locked", "taken off its list"],
)
def test_what_the_kernel_passes_over_when_asked_is_unknown(
    machine: Machine, sampler: PageSampler, idle: bool, flags: int
) -> None:
    sampler.arm([ADDRESS])
    machine.idle(PFN, idle)
    machine.flag(PFN, flags)
    assert sampler.check() == [None]


def test_what_moved_is_unknown_and_what_left_is_idle(
    machine: Machine, sampler: PageSampler
) -> None:
    sampler.arm([ADDRESS])
    machine.map(PRESENT | PFN + 1)
    assert sampler.check() == [None]
    machine.map(0)
    assert sampler.check() == [False]


def test_what_came_was_accessed(machine: Machine, sampler: PageSampler) -> None:
    machine.map(0)
    sampler.arm([ADDRESS])
    assert machine.marked() == []
    assert sampler.check() == [False]
    machine.map(PRESENT | PFN)
    assert sampler.check() == [True]


def where(pages: int) -> AddressRange:
    return AddressRange(ADDRESS, ADDRESS + pages * PAGE)


def test_what_is_young_is_told_and_old_from_then_on(machine: Machine, sampler: PageSampler) -> None:
    """Never marked counts as young, as in DAMON; what is not in memory is left out."""
    # A word of the bitmap each: a file does not keep the other bits as the kernel does.
    frames = [PFN, PFN + 64, PFN + 128]
    for number, pfn in enumerate(frames):
        machine.map(PRESENT | pfn, ADDRESS + number * PAGE)
        machine.flag(pfn, LRU)
    machine.idle(frames[1], True)
    machine.flag(frames[1], LRU | IDLE)
    first, second, third = (
        AddressRange(ADDRESS + at * PAGE, ADDRESS + (at + 1) * PAGE) for at in range(3)
    )
    assert sampler.take_young(where(5)) == [(first, True), (second, False), (third, True)]
    assert machine.marked() == frames
    for pfn in frames:
        machine.flag(pfn, LRU | IDLE)
    assert sampler.take_young(where(5)) == [(where(3), False)]


def test_a_folio_is_young_as_a_whole(machine: Machine, sampler: PageSampler) -> None:
    """It is asked and marked once, by its head, whichever of its pages are in the range."""
    head = 1024
    machine.flag(head, LRU | COMPOUND_HEAD)
    for pfn in range(head + 1, head + 512):
        machine.flag(pfn, COMPOUND_TAIL)
    machine.map(PRESENT | PFN)
    machine.map(PRESENT | PFN + 1, ADDRESS + PAGE)
    assert sampler.take_young(where(2)) == [(where(2), True)]
    assert machine.marked() == [head]


@pytest.mark.parametrize(
    ("idle", "flags"),
    [(True, LRU | IDLE | LOCKED), (False, LRU | IDLE), (False, 0), (True, 0)],
    ids=["locked", "just taken off its list", "off the lists", "marked, then taken off"],
)
def test_of_what_the_kernel_passes_over_nothing_is_told_nor_marked(
    machine: Machine, sampler: PageSampler, idle: bool, flags: int
) -> None:
    machine.idle(PFN, idle)
    machine.flag(PFN, flags)
    assert sampler.take_young(where(1)) == [(where(1), None)]
    assert machine.marked() == [PFN] * idle


def test_no_frame_numbers_no_young_pages(machine: Machine, sampler: PageSampler) -> None:
    machine.map(PRESENT)
    with pytest.raises(HostError, match="hidden"):
        sampler.take_young(where(1))


def test_hidden_frame_numbers_are_an_error(machine: Machine, sampler: PageSampler) -> None:
    machine.map(PRESENT)
    with pytest.raises(HostError, match="hidden"):
        sampler.arm([ADDRESS])


def test_a_kernel_without_it_says_so(machine: Machine) -> None:
    machine.bitmap.unlink()
    with pytest.raises(UnsupportedError, match="CONFIG_IDLE_PAGE_TRACKING"):
        PageIdleProbe(RealFilesystem(), machine.roots)
