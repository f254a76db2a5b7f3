"""The page table probe on real memory, where the machine allows it."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.folio import PageFlags
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.pte.probe import PteProbe
from damos_agent.userspace.pte.sampler import PteSampler
from damos_agent.userspace.selftest import Specimen, prove_pages
from damos_agent.userspace.subject import Subject
from tests.host.fakes import FakeFilesystem
from tests.userspace.children import Child, running

PAGE, HUGE = 4096, 2 << 20


@pytest.fixture(scope="module")
def probe() -> Iterator[PteProbe]:
    try:
        found = PteProbe(RealFilesystem(), Roots())
    except (HostError, UnsupportedError) as error:
        pytest.skip(f"this machine does not allow it: {error}")
    yield found
    found.close()


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def smaps(pid: int, name: str) -> int:
    """Bytes by that name in all mappings."""
    lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) << 10


@pytest.mark.parametrize("huge", [False, True], ids=["4K", "THP"])
def test_it_passes_its_own_test(probe: PteProbe, huge: bool) -> None:
    prove_pages(probe, partial(Specimen, huge=huge))


@pytest.mark.parametrize("huge", [False, True], ids=["4K", "THP"])
def test_hot_is_hot_and_cold_is_cold(probe: PteProbe, huge: bool) -> None:
    with Specimen(huge=huge) as specimen:
        sampler = probe.open(specimen.placement)
        huge_before = smaps(specimen.pid, "AnonHugePages")
        found: dict[str, Counter[bool | None]] = {"hot": Counter(), "cold": Counter()}
        for _ in range(4):
            hot = random.choices(range(*specimen.hot, PAGE), k=700)
            cold = random.choices(range(*specimen.cold, PAGE), k=700)
            sampler.arm(hot + cold)
            time.sleep(0.1)
            told = sampler.check()
            found["hot"].update(told[:700])
            found["cold"].update(told[700:])
        sampler.close()
        assert found["hot"][True] >= 0.98 * 2800, found
        assert found["cold"][False] >= 0.98 * 2800, found
        assert smaps(specimen.pid, "AnonHugePages") == huge_before


YOUNG = {
    "4K": ("area(2 << 20)", 3),
    "THP": ("area(2 << 20, huge=True)", 512),
}


@pytest.mark.parametrize("kind", YOUNG)
def test_young_pages_are_told_and_old_from_then_on(probe: PteProbe, kind: str) -> None:
    make, touched = YOUNG[kind]
    body = f"""
m, start, at = {make}; touch(m, start, 2 << 20); drain(); say(at)
while input() == "":
    [m[start + place * 4096] for place in (3, 4, 5)]; say(1)
"""
    with running(body) as child:
        (at,) = child.hear()
        whole = AddressRange(at, at + (2 << 20))
        sampler = probe.open(child.placement)
        assert sampler.take_young(whole) == [(whole, True)]
        assert sampler.take_young(whole) == [(whole, False)]
        child.tell()
        child.hear()
        found = dict(sampler.take_young(AddressRange(at, at + (4 << 20))))
        young = sum(where.end - where.start for where, told in found.items() if told)
        assert young == touched * PAGE
        assert sampler.take_young(whole) == [(whole, False)]
        sampler.close()


def test_a_touch_between_arming_and_checking_shows(probe: PteProbe) -> None:
    body = """
m, start, at = area(1 << 20); touch(m, start, 1 << 20); drain(); say(at)
while input() == "":
    m[start + 8192]; say(1)
"""
    with running(body) as child:
        (at,) = child.hear()
        sampler = probe.open(child.placement)
        sampler.arm([at + 4096, at + 8192])
        assert sampler.check() == [False, False]
        child.tell()
        child.hear()
        assert sampler.check() == [False, True]
        sampler.arm([at + 8192])
        assert sampler.check() == [False]
        sampler.close()


def test_what_is_not_resident_was_not_accessed(probe: PteProbe) -> None:
    body = "m, start, at = area(1 << 20); m[start] = 1; drain(); say(at)"
    with running(body) as child:
        (at,) = child.hear()
        sampler = probe.open(child.placement)
        sampler.arm([0, PAGE, at + PAGE, 1 << 46, at])
        assert sampler.check() == [False] * 5
        sampler.close()


def test_a_page_brought_in_meanwhile_was_accessed(probe: PteProbe) -> None:
    body = "m, start, at = area(1 << 20); say(at); input(); m[start] = 1; say(1)"
    with running(body) as child:
        (at,) = child.hear()
        sampler = probe.open(child.placement)
        sampler.arm([at])
        child.tell()
        child.hear()
        assert sampler.check() == [True]
        sampler.close()


UNTELLABLE = {
    "locked": "m, start, at = area(1 << 20); libc.mlock(ctypes.c_void_p(at), 1 << 20)",
    "shared": "m, start, at = area(1 << 20, SHARED)",
    "shared and private": "m, start, at = area(1 << 20)",
    "huge and shared": "m, start, at = area(2 << 20, huge=True)",
}


@pytest.mark.parametrize("kind", UNTELLABLE)
def test_what_cannot_be_cleared_is_unknown_and_never_idle(probe: PteProbe, kind: str) -> None:
    fork = "r, w = os.pipe(); pid = os.fork()\n" if "shared" in kind else "pid = 1\n"
    body = (
        UNTELLABLE[kind]
        + "\ntouch(m, start, 1 << 20); drain()\n"
        + fork
        + "touch(m, start, 1 << 20) if 'private' not in KIND and 'huge' not in KIND else None\n"
        + "[m[at] for at in range(start, start + (1 << 20), 4096)]\n"
        + "if pid == 0: libc.prctl(1, 9); os.write(w, b'1'); time.sleep(60)\n"
        + ("os.read(r, 1)\n" if "shared" in kind else "")
        + "say(at)\nimport atexit"
    )
    with running(f"KIND = {kind!r}\n{body}") as child:
        (at,) = child.hear()
        sampler = probe.open(child.placement)
        sampler.arm(range(at, at + (1 << 20), PAGE))
        time.sleep(0.02)
        assert set(sampler.check()) == {None}
        whole = AddressRange(at, at + (1 << 20))
        assert sampler.take_young(whole) == [(whole, None)]
        sampler.close()


def test_memory_without_leave_to_access_it_is_told_like_other_memory(probe: PteProbe) -> None:
    body = """
m, start, at = area(1 << 20); touch(m, start, 1 << 20); drain()
libc.mprotect(ctypes.c_void_p(at), 1 << 20, 0); say(at)
"""
    with running(body) as child:
        (at,) = child.hear()
        sampler = probe.open(child.placement)
        for _ in range(2):
            sampler.arm(range(at, at + (1 << 20), PAGE))
            assert set(sampler.check()) == {False}
        sampler.close()


def test_a_large_folio_mapped_by_pages_is_cleared_as_one(probe: PteProbe) -> None:
    body = """
m, start, at = area(2 << 20, huge=True); touch(m, start, 2 << 20)
for rights in (1, 3):
    libc.mprotect(ctypes.c_void_p(at + (1 << 20)), 4096, rights)
say(at); input(); m[start + 4096]; say(1)
"""
    with running(body) as child, PageFlags(Roots()) as flags:
        (at,) = child.hear()
        folio = flags.head(pfn_of(child.pid, at))
        assert flags.pages(folio) == 512
        sampler = probe.open(child.placement)
        sampler.arm([at + 4096, at + 8192])
        child.tell()
        child.hear()
        assert sampler.check() == [True, False]
        part, whole = AddressRange(at + 8192, at + 16384), AddressRange(at, at + HUGE)
        assert sampler.take_young(part) == [(part, True)]
        assert sampler.take_young(whole) == [(whole, False)]
        assert flags.pages(folio) == 512
        sampler.close()


PIECES = {
    "with a hole": "m.madvise(mmap.MADV_DONTNEED, start + (1 << 20), 4096)",
    "in two mappings": "libc.mprotect(ctypes.c_void_p(at + (1 << 20)), 4096, 1)",
}


@pytest.mark.parametrize("how", PIECES)
def test_a_large_folio_mapped_in_pieces_is_left_alone(probe: PteProbe, how: str) -> None:
    body = "m, start, at = area(2 << 20, huge=True); touch(m, start, 2 << 20)"
    with running(f"{body}\n{PIECES[how]}; say(at)") as child, PageFlags(Roots()) as flags:
        (at,) = child.hear()
        folio = flags.head(pfn_of(child.pid, at))
        assert flags.pages(folio) == 512
        sampler = probe.open(child.placement)
        sampler.arm([at + 4096])
        assert sampler.check() == [None]
        assert flags.pages(folio) == 512
        sampler.close()


def pfn_of(pid: int, address: int) -> int:
    with open(f"/proc/{pid}/pagemap", "rb") as file:
        file.seek(address // PAGE * 8)
        return int.from_bytes(file.read(8), "little") & ((1 << 55) - 1)


def test_swapped_out_pages_are_idle(probe: PteProbe) -> None:
    if len(Path("/proc/swaps").read_text().splitlines()) < 2:
        pytest.skip("no swap is on")
    body = """
m, start, at = area(1 << 20); touch(m, start, 1 << 20); drain()
m.madvise(21, start, 1 << 20); say(at); input(); m[start]; say(1)
"""
    with running(body) as child:
        (at,) = child.hear()
        assert pfn_of(child.pid, at)
        sampler = probe.open(child.placement)
        sampler.arm([at, at + PAGE])
        assert sampler.check() == [False, False]
        child.tell()
        child.hear()
        assert sampler.check()[0] is True
        sampler.close()


def test_an_ended_process_is_told(probe: PteProbe) -> None:
    with running("say(1)") as child:
        child.hear()
        sampler = probe.open(child.placement)
        sampler.arm([PAGE])
        child.process.kill()
        child.process.wait()
        with pytest.raises(ProcessLookupError):
            sampler.check()
        with pytest.raises(ProcessLookupError):
            sampler.arm([PAGE])
        with pytest.raises(ProcessLookupError):
            probe.open(child.placement)
        sampler.close()
        sampler.close()


def test_another_program_is_told(probe: PteProbe) -> None:
    body = "say(1); input(); os.execv('/bin/sleep', ['sleep', '60'])"
    with running(body) as child:
        child.hear()
        sampler = probe.open(child.placement)
        sampler.arm([PAGE])
        child.tell()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            assert time.monotonic() < deadline
        with pytest.raises(ProcessLookupError):
            sampler.check()
        with pytest.raises(ProcessLookupError):
            sampler.arm([PAGE])
        sampler.close()


def test_another_program_is_told_while_the_old_memory_lives_on(probe: PteProbe) -> None:
    """As that of a parent that called vfork; here the pagemap opened anew is just another one."""
    with running("say(1)") as child, running("say(1)") as other:
        child.hear()
        other.hear()
        sampler = PteSampler(subject_of(child), probe._reader, probe._flags)
        foreign = subject_of(other)
        sampler._subject.open_pagemap = foreign.open_pagemap  # type: ignore[method-assign]
        with pytest.raises(ProcessLookupError):
            sampler.arm([PAGE])
        foreign.close()
        sampler.close()


def subject_of(child: Child) -> Subject:
    return Subject(RealFilesystem(), Roots(), child.placement)


def test_nothing_leaks(probe: PteProbe) -> None:
    before = descriptors()
    with Specimen() as specimen:
        sampler = probe.open(specimen.placement)
        for _ in range(3):
            sampler.arm([specimen.hot[0]])
            sampler.check()
        sampler.close()
        with pytest.raises(ProcessLookupError):
            probe.open(Placement(specimen.pid, specimen.placement.start_ticks + 1))
    with pytest.raises(ProcessLookupError):
        probe.open(specimen.placement)
    assert descriptors() == before


def test_a_probe_gives_all_back(probe: PteProbe) -> None:
    before = descriptors()
    PteProbe(RealFilesystem(), Roots()).close()
    assert descriptors() == before


def cpuinfo(flags: str) -> str:
    return f"processor : 0\nflags\t\t: fpu pse {flags}\n"


def test_machines_it_cannot_read_are_named() -> None:
    before = descriptors()
    machine = FakeFilesystem(
        {
            "/proc/cpuinfo": cpuinfo("pge"),
            "/sys/kernel/security/lockdown": "none integrity [confidentiality]\n",
        }
    )
    with pytest.raises(UnsupportedError, match="locked down"):
        PteProbe(machine, Roots())
    no_type_information = Roots(sysfs="/nowhere")
    with pytest.raises((UnsupportedError, HostError), match=r"DEBUG_INFO_BTF|CAP_"):
        PteProbe(RealFilesystem(), no_type_information)
    assert descriptors() == before
