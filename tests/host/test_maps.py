"""Mappings and the three regions of real and written processes."""

from __future__ import annotations

import errno
import os

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.maps import parse_maps, read_ranges
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange
from tests.host.fakes import FakeFilesystem

MAPS = """\
555500000000-555500002000 r-xp 00000000 08:01 131 /usr/bin/with space
555500002000-555500004000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7f0000003000-7f0000005000 r--p 00000000 08:01 9 /lib/x [vsyscall] not
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
7ffd00022000-7ffd00024000 r-xp 00000000 00:00 0 [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""


def test_every_vma_counts_but_the_vsyscall_page() -> None:
    found = parse_maps(MAPS)
    assert len(found) == 6
    assert found[0] == AddressRange(0x555500000000, 0x555500002000)
    assert found[-1] == AddressRange(0x7FFD00022000, 0x7FFD00024000)


def test_ranges_are_heap_mmap_area_and_stack() -> None:
    fs = FakeFilesystem({"/proc/5/maps": MAPS})
    assert read_ranges(fs, Roots(), 5) == (
        AddressRange(0x555500000000, 0x555500004000),
        AddressRange(0x7F0000000000, 0x7F0000005000),
        AddressRange(0x7FFD00000000, 0x7FFD00024000),
    )


@pytest.mark.parametrize("answer", [errno.ENOENT, errno.ESRCH, ""])
def test_the_gone_and_kernel_threads_have_no_ranges(answer: int | str) -> None:
    assert read_ranges(FakeFilesystem({"/proc/5/maps": answer}), Roots(), 5) == ()


def test_hidden_mappings_are_an_error() -> None:
    with pytest.raises(HostError, match="CAP_SYS_PTRACE") as caught:
        read_ranges(FakeFilesystem({"/proc/5/maps": errno.EACCES}), Roots(), 5)
    assert caught.value.errno == errno.EACCES


def test_our_own_ranges_hold_our_memory() -> None:
    ranges = read_ranges(RealFilesystem(), Roots(), os.getpid())
    address = id(object())
    assert len(ranges) == 3
    assert all(r.start % 4096 == r.end % 4096 == 0 for r in ranges)
    assert any(r.start <= address < r.end for r in ranges)
