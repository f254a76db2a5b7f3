"""Generations in a row, and the cgroup a target means."""

from __future__ import annotations

import pytest

from damos_agent.host.mglru import Generation, LruNode
from damos_agent.host.roots import Roots
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import CgroupTarget, ContainerTarget, UnitTarget
from damos_agent.model.userspace import IdleBytes
from damos_agent.userspace.group import Group
from damos_agent.userspace.group_view import Row, histogram, slots_of
from damos_agent.userspace.memcg import Kind
from tests.host.fakes import FakeFilesystem

MIB = 1 << 20
SECOND = 1_000_000
A = LruNode(
    1,
    "/a",
    0,
    (
        Generation(4, 6140, 64 * MIB, 0),
        Generation(5, 4116, MIB, 3 * MIB),
        Generation(6, 2072, 16 * MIB, 0),
        Generation(7, 4, 0, 0),
    ),
)
B = LruNode(2, "/a/b", 1, (Generation(1, 9000, 0, 0), *A.generations[1:]))


def test_the_longest_idle_come_first_and_those_in_use_last() -> None:
    slots = slots_of((A, B), swap=True)
    found = [(s.path, s.kind, s.size // MIB, s.idle_us // 1000, s.in_use) for s in slots]
    assert found == [
        ("/a", Kind.ANONYMOUS, 64, 4112, False),
        ("/a", Kind.ANONYMOUS, 1, 2068, False),
        ("/a", Kind.FILE, 3, 2068, False),
        ("/a/b", Kind.ANONYMOUS, 1, 2068, False),
        ("/a/b", Kind.FILE, 3, 2068, False),
        ("/a", Kind.ANONYMOUS, 16, 0, True),
        ("/a/b", Kind.ANONYMOUS, 16, 0, True),
    ]


def test_places_lead_back_to_slots() -> None:
    slots = slots_of((A, B), swap=True)
    row = Row(slots)
    regions = row.regions()
    assert [row.at(region.start) for region in regions] == list(slots)
    assert [row.at(region.end - 1) for region in regions] == list(slots)
    assert [(r.age, r.nr_accesses) for r in regions] == [(41, 0), *[(20, 0)] * 4, *[(0, 1)] * 2]


def test_bytes_by_age_are_sums_from_the_oldest_on() -> None:
    assert histogram(slots_of((A, B), swap=True)) == (
        IdleBytes(4 * SECOND, 64 * MIB, 0),
        IdleBytes(2 * SECOND, 66 * MIB, 6 * MIB),
        IdleBytes(0, 98 * MIB, 6 * MIB),
    )
    assert histogram(slots_of((A,), swap=False)) == (
        IdleBytes(2 * SECOND, 0, 3 * MIB),
        IdleBytes(0, 81 * MIB, 3 * MIB),
    )
    only_idle = [slot for slot in slots_of((A,), swap=True) if not slot.in_use]
    assert histogram(only_idle)[-1] == IdleBytes(0, 65 * MIB, 3 * MIB)
    assert histogram(()) == ()


def machine(*directories: str, **files: str) -> FakeFilesystem:
    found = FakeFilesystem({"/sys/fs/cgroup/cgroup.controllers": "memory"})
    for path in directories:
        for name in ("cgroup.procs", "memory.stat"):
            found.files[f"/sys/fs/cgroup{path}/{name}"] = ""
    found.files["/proc/meminfo"] = "SwapFree: 1000 kB\n"
    found.files |= {f"/sys/fs/cgroup/{name}": text for name, text in files.items()}
    return found


CONTAINER = "/docker/" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (CgroupTarget("/x/y/"), "/x/y"),
        (UnitTarget("a"), "/system.slice/a.service"),
        (ContainerTarget("0123"), CONTAINER),
        (CgroupTarget("/z"), None),
        (UnitTarget("b"), None),
    ],
)
def test_targets_are_found_again_after_they_were_gone(
    target: CgroupTarget | UnitTarget | ContainerTarget, path: str | None
) -> None:
    fs = machine("/x/y", "/system.slice/a.service", CONTAINER)
    group = Group(fs, Roots(), target)
    assert bool(group.find()) is (path is None)
    assert group.path == path
    if path:
        kept = dict(fs.files)
        fs.remove(f"/sys/fs/cgroup{path}")
        assert "is not there" in group.find()
        assert not group.is_there()
        fs.files = kept
        assert group.find() == ""
        assert group.directory == f"/sys/fs/cgroup{path}"


def test_the_whole_machine() -> None:
    group = Group(machine(""), Roots(), CgroupTarget("/"))
    assert group.find() == ""
    assert (group.path, group.directory) == ("", "/sys/fs/cgroup")
    assert group.has_swap()
    assert group.spare() > 1 << 60


def test_memory_that_is_not_counted_by_itself() -> None:
    fs = machine("/x")
    del fs.files["/sys/fs/cgroup/x/memory.stat"]
    with pytest.raises(UnsupportedError, match="memory controller"):
        Group(fs, Roots(), CgroupTarget("/x")).find()


def test_swap_is_what_every_level_has_left() -> None:
    fs = machine("/x/y")
    group = Group(fs, Roots(), CgroupTarget("/x/y"))
    group.find()
    assert group.has_swap()
    fs.files["/sys/fs/cgroup/x/memory.swap.max"] = f"{MIB}\n"
    assert group.has_swap()
    fs.files["/sys/fs/cgroup/x/memory.swap.current"] = f"{MIB - 4096}\n"
    assert not group.has_swap()
    fs.files["/sys/fs/cgroup/x/memory.swap.max"] = "max\n"
    assert group.has_swap()
    fs.files["/proc/meminfo"] = "SwapFree: 100 kB\n"
    assert not group.has_swap()
