"""Ages of cgroups: as a histogram, as a check, and eviction of the surely idle."""

from __future__ import annotations

import re

import pytest

from damos_agent.host.mglru import Generation
from damos_agent.host.roots import Roots
from damos_agent.userspace.memcg import CgroupAges, Idle, Verdict, check, idle_bytes_of
from tests.host.fakes import FakeFilesystem

MIB = 1 << 20
SECOND = 1_000_000
# 64 MiB cold, 64 MiB hot in the second youngest, as measured.
AGED = (
    Generation(4, 6140, 64 * MIB, 0),
    Generation(5, 4116, 1 * MIB, 0),
    Generation(6, 2072, 64 * MIB, 0),
    Generation(7, 4, 0, 0),
)
PATH = "/sys/kernel/debug/lru_gen"


def test_bounds_of_what_is_idle() -> None:
    assert idle_bytes_of(AGED, 3 * SECOND) == Idle(64 * MIB, 65 * MIB)
    assert idle_bytes_of(AGED, 1 * SECOND) == Idle(65 * MIB, 129 * MIB)
    assert idle_bytes_of(AGED, 60 * SECOND) == Idle(0, 0)
    assert idle_bytes_of((), SECOND) == Idle(0, 0)


@pytest.mark.parametrize(
    ("claim", "idle_s", "verdict"),
    [
        (60 * MIB, 3, Verdict.AGREES),
        (66 * MIB, 3, Verdict.AGREES),
        (120 * MIB, 3, Verdict.CONTRADICTS),
        (120 * MIB, 1, Verdict.CANNOT_TELL),
        (0, 3, Verdict.AGREES),
    ],
)
def test_our_claim_is_held_against_the_ages(claim: int, idle_s: int, verdict: Verdict) -> None:
    assert check(claim, AGED, idle_s * SECOND) is verdict


def test_without_agings_it_cannot_tell() -> None:
    fresh = tuple(Generation(n, 90_000, MIB, 0) for n in range(4))
    assert check(4 * MIB, fresh, 5 * SECOND) is Verdict.CANNOT_TELL


class Kernel(FakeFilesystem):
    """An lru_gen with one cgroup that obeys, or ignores, commands."""

    def __init__(self, *, deaf: bool = False) -> None:
        super().__init__({"/sys/kernel/mm/lru_gen/enabled": "0x0007\n"})
        self.pages = {4: 4096, 5: 256, 6: 4096, 7: 0}
        self.ages = {4: 6140, 5: 4116, 6: 2072, 7: 4}
        self.deaf = deaf
        self.commands: list[str] = []
        self._show()

    def write(self, path: str, text: str) -> None:
        assert path == PATH
        self.commands.append(text)
        if self.deaf:
            return
        if match := re.fullmatch(r"- 28 0 (\d+) (\d+) (\d+)", text):
            upto, _, left = map(int, match.groups())
            for number in [n for n in self.pages if n <= upto]:
                taken = min(left, self.pages[number])
                self.pages[number] -= taken
                left -= taken
        else:
            assert text == f"+ 28 0 {max(self.pages)}"
            self.pages[max(self.pages) + 1] = 0
            self.ages[max(self.pages)] = 0
        self._show()

    def _show(self) -> None:
        rows = [f" {n:>10} {self.ages[n]:>10} {p:>10}  0 \n" for n, p in self.pages.items()]
        self.files[PATH] = "memcg 28 /probe\n node     0\n" + "".join(rows)


def test_aging_is_seen_to_have_happened() -> None:
    assert CgroupAges(Kernel(), Roots()).age("/probe")
    assert not CgroupAges(Kernel(deaf=True), Roots()).age("/probe")
    assert not CgroupAges(Kernel(), Roots()).age("/gone")


def test_only_the_surely_idle_is_evicted_and_what_left_is_counted() -> None:
    kernel = Kernel()
    ages = CgroupAges(kernel, Roots())
    assert ages.evict("/probe", 4 * MIB, 3 * SECOND, 60) == 4 * MIB
    assert kernel.commands == ["- 28 0 4 60 1024"]
    assert ages.evict("/probe", 64 * MIB, 2 * SECOND, 60) == 13 * MIB
    assert kernel.commands[-1] == f"- 28 0 5 60 {13 * 256}"
    assert kernel.pages[6] == 4096


def test_nothing_is_evicted_for_nothing() -> None:
    kernel = Kernel()
    ages = CgroupAges(kernel, Roots())
    assert ages.evict("/probe", 0, SECOND, 60) == 0
    assert ages.evict("/probe", MIB, 60 * SECOND, 60) == 0
    assert ages.evict("/gone", MIB, SECOND, 60) == 0
    assert kernel.commands == []


def test_an_eviction_without_effect_is_none() -> None:
    assert CgroupAges(Kernel(deaf=True), Roots()).evict("/probe", MIB, 3 * SECOND, 60) == 0


def test_why_it_declines() -> None:
    kernel = Kernel()
    ages = CgroupAges(kernel, Roots())
    assert ages.info.name == "memcg"
    assert ages.decline() == ""
    kernel.files[PATH] = 1  # EPERM
    assert "lockdown" in ages.decline()
    kernel.files["/sys/kernel/mm/lru_gen/enabled"] = "0x0000\n"
    assert "not enabled" in ages.decline()
