"""Ages of cgroups: as a histogram, as a check, and eviction of the surely idle."""

from __future__ import annotations

import errno
import re
from dataclasses import replace

import pytest

from damos_agent.host.mglru import Generation
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.userspace.memcg import CgroupAges, Kind, Verdict, check, room_of
from tests.host.fakes import FakeFilesystem

MIB = 1 << 20
SECOND = 1_000_000
ANON = Kind.ANONYMOUS
# 64 MiB cold, 64 MiB hot in the second youngest, as measured.
AGED = (
    Generation(4, 6140, 64 * MIB, 0),
    Generation(5, 4116, 1 * MIB, 0),
    Generation(6, 2072, 64 * MIB, 0),
    Generation(7, 4, 0, 0),
)
PATH = "/sys/kernel/debug/lru_gen"


def test_room_for_what_is_idle() -> None:
    """Of what it has not looked at twice in that time, the kernel knows nothing."""
    assert room_of(AGED, 3 * SECOND, ANON) == 65 * MIB
    assert room_of(AGED, 5 * SECOND, ANON) == 64 * MIB
    assert room_of(AGED, 60 * SECOND, ANON) == 0
    assert room_of(AGED, 3 * SECOND, Kind.FILE) == 0
    assert room_of(AGED, 1 * SECOND, ANON) == 129 * MIB
    assert room_of((), SECOND, ANON) == 0


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
    found = check(claim, [AGED], idle_s * SECOND, ANON, swap=True)
    assert found is verdict


def test_without_agings_it_cannot_tell() -> None:
    fresh = tuple(Generation(n, 90_000, MIB, 0) for n in range(4))
    found = check(4 * MIB, [fresh], 5 * SECOND, ANON, swap=True)
    assert found is Verdict.CANNOT_TELL


@pytest.mark.parametrize("kind", Kind)
def test_without_swap_it_cannot_tell_of_anonymous_memory(kind: Kind) -> None:
    aged = tuple(replace(one, file_bytes=one.anonymous_bytes) for one in AGED)
    found = check(120 * MIB, [aged], 3 * SECOND, kind, swap=False)
    assert (found is Verdict.CONTRADICTS) is (kind is Kind.FILE)


def test_of_more_than_the_cgroup_has_it_cannot_tell() -> None:
    """It is charged to another one, where the process was before."""
    assert check(200 * MIB, [AGED], 3 * SECOND, ANON, swap=True) is Verdict.CANNOT_TELL


def test_cgroups_below_and_nodes_add_up() -> None:
    """Agreement takes looks at what makes it; contradiction that nothing else leaves room."""
    fresh = tuple(Generation(n, 90_000, MIB, 0) for n in range(4))
    assert check(120 * MIB, [AGED, AGED], 3 * SECOND, ANON, swap=True) is Verdict.AGREES
    assert check(180 * MIB, [AGED, AGED], 3 * SECOND, ANON, swap=True) is Verdict.CONTRADICTS
    assert check(60 * MIB, [AGED, fresh], 3 * SECOND, ANON, swap=True) is Verdict.AGREES
    assert check(75 * MIB, [AGED, fresh], 3 * SECOND, ANON, swap=True) is Verdict.CANNOT_TELL
    assert check(90 * MIB, [AGED, fresh], 3 * SECOND, ANON, swap=True) is Verdict.CONTRADICTS


class Kernel(FakeFilesystem):
    """An lru_gen with one cgroup, all anonymous, that obeys, or ignores, commands.

    `max` is what kernels before 6.16 refuse.
    """

    def __init__(self, *, deaf: bool = False, old: bool = False, gone: bool = False) -> None:
        super().__init__({"/sys/kernel/mm/lru_gen/enabled": "0x0007\n"})
        self.pages = {4: 4096, 5: 256, 6: 4096, 7: 0}
        self.ages = {4: 6140, 5: 4116, 6: 2072, 7: 4}
        self.deaf, self.old, self.gone = deaf, old, gone
        self.commands: list[str] = []
        self._show()

    def write(self, path: str, text: str) -> None:
        assert path == PATH
        self.commands.append(text)
        if self.gone:
            self.files[PATH] = ""
        if self.gone or (self.old and "max" in text):
            raise OSError(errno.EINVAL, "Invalid argument")
        if self.deaf:
            return
        if match := re.fullmatch(r"- 28 0 (\d+) (?:200|max) (\d+)", text):
            upto, left = map(int, match.groups())
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
    assert ages.evict("/probe", Kind.ANONYMOUS, 4 * MIB, 3 * SECOND) == 4 * MIB
    assert kernel.commands == ["- 28 0 4 max 1024"]
    assert ages.evict("/probe", Kind.ANONYMOUS, 64 * MIB, 2 * SECOND) == 13 * MIB
    assert kernel.commands[-1] == f"- 28 0 5 max {13 * 256}"
    assert kernel.pages[6] == 4096


def test_time_since_the_latest_look_proves_nothing() -> None:
    """The youngest generation began with it: 4116 ms ago somebody used it, 2000 ago who knows."""
    kernel = Kernel()
    kernel.ages = {n: age + 2000 for n, age in kernel.ages.items()}
    kernel._show()
    assert CgroupAges(kernel, Roots()).evict("/probe", Kind.ANONYMOUS, MIB, 5 * SECOND) == 0


def test_kernels_that_do_not_know_max_are_told_200_from_then_on() -> None:
    kernel = Kernel(old=True)
    ages = CgroupAges(kernel, Roots())
    for _ in range(2):
        assert ages.evict("/probe", Kind.ANONYMOUS, MIB, SECOND) == MIB
    assert [text.split()[4] for text in kernel.commands] == ["max", "200", "200"]


def test_nothing_is_evicted_for_nothing() -> None:
    kernel = Kernel()
    ages = CgroupAges(kernel, Roots())
    assert ages.evict("/probe", Kind.ANONYMOUS, 0, SECOND) == 0
    assert ages.evict("/probe", Kind.ANONYMOUS, MIB, 60 * SECOND) == 0
    assert ages.evict("/probe", Kind.FILE, MIB, SECOND) == 0
    assert ages.evict("/probe", Kind.ANONYMOUS, MIB, SECOND, numa=1) == 0
    assert ages.evict("/gone", Kind.ANONYMOUS, MIB, SECOND) == 0
    assert kernel.commands == []


def test_an_eviction_without_effect_is_none() -> None:
    ages = CgroupAges(Kernel(deaf=True), Roots())
    assert ages.evict("/probe", Kind.ANONYMOUS, MIB, 3 * SECOND) == 0


def test_a_cgroup_that_goes_meanwhile_is_no_error_and_a_refusal_is() -> None:
    ages = CgroupAges(kernel := Kernel(), Roots())
    nodes = ages.read("/probe")
    kernel.old = True
    kernel.gone = True
    ages.age_nodes(nodes)
    ages = CgroupAges(kernel := Kernel(gone=True), Roots())
    assert ages.evict("/probe", Kind.ANONYMOUS, MIB, SECOND) == 0
    with pytest.raises(HostError, match="refused"):
        CgroupAges(Refusing(), Roots()).age_nodes(nodes)


class Refusing(Kernel):
    """Takes no commands."""

    def write(self, path: str, text: str) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


def test_the_cgroups_below_are_part_of_the_tree() -> None:
    kernel = Kernel()
    rows = "memcg {} {}\n node     0\n          1 2 3 4 \n          2 1 3 4 \n"
    paths = ("/", "/a", "/a/b", "/ab")
    kernel.files[PATH] = "".join(rows.format(n, path) for n, path in enumerate(paths))
    ages = CgroupAges(kernel, Roots())
    assert [one.path for one in ages.read("/a")] == ["/a"]
    assert [one.path for one in ages.read_tree("/a/")] == ["/a", "/a/b"]
    assert [one.path for one in ages.read_tree("/")] == [*paths]


def test_why_it_declines() -> None:
    kernel = Kernel()
    kernel.links["/proc/self/ns/cgroup"] = "cgroup:[4026531835]"
    ages = CgroupAges(kernel, Roots())
    assert ages.info.name == "memcg"
    assert ages.decline() == ""
    kernel.files[PATH] = 1  # EPERM
    assert "lockdown" in ages.decline()
    kernel.links["/proc/self/ns/cgroup"] = "cgroup:[4026532288]"
    assert "namespace" in ages.decline()
    kernel.files["/sys/kernel/mm/lru_gen/enabled"] = "0x0005\n"
    assert "page tables" in ages.decline()
    kernel.files["/sys/kernel/mm/lru_gen/enabled"] = "0x0000\n"
    assert "not enabled" in ages.decline()
