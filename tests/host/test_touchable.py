"""Which mappings may be touched, by text."""

from __future__ import annotations

from damos_agent.algo.ranges import union
from damos_agent.host.touchable import parse_mappings, touchable_of_maps
from damos_agent.model.policy import AddressRange

MAPS = """\
00400000-00401000 r-xp 00000000 fe:00 1337                               /usr/bin/true
00401000-00403000 ---p 00000000 00:00 0
00403000-00404000 rw-s 00000000 00:01 2049                               /memfd:load (deleted)
00404000-00405000 rw-p 00000000 00:00 0                                  [heap]
00405000-00406000 rw-p 00000000 fe:00 7                                  /srv/a [vdso] b
7ffff7fc1000-7ffff7fc5000 r--p 00000000 00:00 0                          [vvar]
7ffff7fc5000-7ffff7fc7000 r--p 00000000 00:00 0                          [vvar_vclock]
7ffff7fc7000-7ffff7fc9000 r-xp 00000000 00:00 0                          [vdso]
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""


def test_private_memory_is_touchable_and_neighbours_are_one() -> None:
    """Not what is shared, nor the kernel's own pages, whatever files are called."""
    assert touchable_of_maps(MAPS) == (
        AddressRange(0x400000, 0x403000),
        AddressRange(0x404000, 0x406000),
        AddressRange(0x7FFFFFFDE000, 0x7FFFFFFFF000),
    )


def test_the_long_way_for_smaps_finds_the_same() -> None:
    """Where flags have to be looked at."""
    slow = union(mapping.range for mapping in parse_mappings(MAPS) if mapping.touchable)
    assert touchable_of_maps(MAPS) == slow
    assert touchable_of_maps("") == ()
