"""Which addresses of a process are sampled."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from damos_agent.algo.ranges import around_gaps
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.areas import parse_areas, read_areas
from tests.userspace.contexting import FakeMachine

MAPS = """\
00400000-00401000 r-xp 00000000 08:01 5 /bin/a
00401000-00403000 rw-p 00000000 08:01 5 /bin/a
10000000-20000000 ---p 00000000 00:00 0
20000000-20001000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000001000 r--s 00000000 00:01 7 /dev/shm/x y [vdso]z
7ffd00000000-7ffd00001000 r--p 00000000 00:00 0 [vvar]
7ffd00001000-7ffd00002000 r--p 00000000 00:00 0 [vvar_vclock]
7ffd00002000-7ffd00003000 r-xp 00000000 00:00 0 [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""


def pairs(ranges: tuple[AddressRange, ...]) -> list[tuple[int, int]]:
    return [(r.start, r.end) for r in ranges]


def test_what_somebody_could_access() -> None:
    """Joined where it touches; neither reserved space nor the kernel's own."""
    assert pairs(tuple(parse_areas(MAPS))) == [
        (0x400000, 0x403000),
        (0x20000000, 0x20001000),
        (0x7F0000000000, 0x7F0000001000),
    ]
    assert tuple(parse_areas("")) == ()


def test_few_ranges_around_the_largest_gaps() -> None:
    """All that is mapped is in one of them."""
    ranges = [AddressRange(a, a + 1) for a in (0, 2, 10, 11, 50, 52)]
    assert pairs(around_gaps(ranges, 3)) == [(0, 3), (10, 12), (50, 53)]
    assert pairs(around_gaps(ranges, 1)) == [(0, 53)]
    assert around_gaps(ranges, 9) == tuple(ranges)


def test_gone_and_forbidden(tmp_path: Path) -> None:
    """Nothing is mapped of a process that has gone; a privilege that is missing is said."""
    machine = FakeMachine(str(tmp_path))
    assert read_areas(machine, Roots(), 700, 3) == ()

    class Forbidden(FakeMachine):
        def read(self, path: str) -> str:
            raise PermissionError(errno.EACCES, "no")

    with pytest.raises(HostError, match="cannot be read"):
        read_areas(Forbidden(str(tmp_path)), Roots(), 700, 3)
