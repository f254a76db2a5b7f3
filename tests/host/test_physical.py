"""Where physical memory is."""

from __future__ import annotations

import errno
import os

import pytest

from damos_agent.algo.ranges import total_bytes
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.memory import read_meminfo
from damos_agent.host.physical import (
    parse_iomem,
    parse_zoneinfo,
    read_node_ranges,
    read_nodes,
    read_physical,
    read_system_ram,
)
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange, PhysicalTarget
from tests.host.fakes import FakeFilesystem

MiB = 1 << 20
GiB = 1 << 30

IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000f0000-000fffff : System ROM
00100000-7fffffff : System RAM
  01000000-01ffffff : Kernel code
100000000-13fffffff : System RAM
140000000-17fffffff : Persistent Memory
  140000000-15fffffff : dax0.0
    140000000-15fffffff : System RAM (kmem)
"""

ZONEINFO = """\
Node 0, zone      DMA
  pages free     3840
        boost    0
        min      14
        spanned  4095
        present  3998
  start_pfn:           1
Node 0, zone    DMA32
        spanned  520192
  start_pfn:           4096
Node 0, zone  Movable
        spanned  0
  start_pfn:           0
Node 1, zone   Normal
        spanned  393216
  start_pfn:           1048576
"""


def ranges(*pairs: tuple[int, int]) -> tuple[AddressRange, ...]:
    return tuple(AddressRange(start, end) for start, end in pairs)


def numa_machine(*, blocks: bool = True) -> FakeFilesystem:
    """Node 0: below 2 GiB; node 1: 4 to 5.5 GiB; 256 MiB blocks."""
    node = "/sys/devices/system/node"
    fs = FakeFilesystem(
        {
            "/proc/iomem": IOMEM,
            "/proc/zoneinfo": ZONEINFO,
            f"{node}/possible": "0-1",
            f"{node}/node0/meminfo": "",
            f"{node}/node1/meminfo": "",
        }
    )
    if blocks:
        fs.files["/sys/devices/system/memory/block_size_bytes"] = "10000000\n"
        for nid, numbers in ((0, range(8)), (1, range(16, 21))):
            for number in numbers:
                fs.files[f"{node}/node{nid}/memory{number}/state"] = "online"
    return fs


def test_system_ram_is_whole_pages_of_every_kind_of_ram() -> None:
    assert parse_iomem(IOMEM) == ranges(
        (0x1000, 0x9F000), (MiB, 2 * GiB), (4 * GiB, 5 * GiB + 512 * MiB)
    )


def test_hidden_addresses_are_an_error_that_names_the_right() -> None:
    text = "00000000-00000000 : System RAM\n00000000-00000000 : System RAM\n"
    with pytest.raises(HostError, match="run as root"):
        parse_iomem(text)


def test_no_system_ram_is_an_error() -> None:
    with pytest.raises(HostError, match="no System RAM"):
        parse_iomem("00000000-00000fff : Reserved\n")


def test_an_unreadable_iomem_is_an_error() -> None:
    with pytest.raises(HostError) as caught:
        read_system_ram(FakeFilesystem({"/proc/iomem": errno.EACCES}), Roots())
    assert (caught.value.path, caught.value.errno) == ("/proc/iomem", errno.EACCES)


def test_zones_span_addresses_of_their_node() -> None:
    assert parse_zoneinfo(ZONEINFO, page_bytes=4096) == {
        0: ranges((4096, 4096 * 524288)),
        1: ranges((4 * GiB, 4 * GiB + 4096 * 393216)),
    }


def test_a_nodes_memory_is_its_blocks_within_its_zones_and_ram() -> None:
    fs = numa_machine()
    assert read_nodes(fs, Roots()) == (0, 1)
    assert read_node_ranges(fs, Roots(), 0) == ranges((0x1000, 0x9F000), (MiB, 2 * GiB))
    assert read_node_ranges(fs, Roots(), 1) == ranges((4 * GiB, 5 * GiB + 256 * MiB))


def test_a_block_shared_by_two_nodes_is_cut_where_the_zones_end() -> None:
    fs = numa_machine()
    fs.files["/sys/devices/system/node/node0/memory16/state"] = "online"
    assert read_node_ranges(fs, Roots(), 0) == ranges((0x1000, 0x9F000), (MiB, 2 * GiB))


def test_without_memory_blocks_the_zones_decide() -> None:
    fs = numa_machine(blocks=False)
    assert read_node_ranges(fs, Roots(), 1) == ranges((4 * GiB, 5 * GiB + 512 * MiB))


def test_without_numa_all_memory_is_node_0() -> None:
    zones = "Node 0, zone Normal\n        spanned  1441792\n  start_pfn:  0\n"
    fs = FakeFilesystem({"/proc/iomem": IOMEM, "/proc/zoneinfo": zones})
    assert read_nodes(fs, Roots()) == (0,)
    assert read_node_ranges(fs, Roots(), 0) == read_system_ram(fs, Roots())


def test_a_missing_node_is_an_error_that_names_those_there() -> None:
    with pytest.raises(HostError, match=r"no NUMA node 7 .*0, 1"):
        read_node_ranges(numa_machine(), Roots(), 7)


def test_targets_are_cut_to_the_ram_in_them() -> None:
    fs = numa_machine()
    assert read_physical(fs, Roots(), PhysicalTarget()) == read_system_ram(fs, Roots())
    assert read_physical(fs, Roots(), PhysicalTarget(numa_node=1)) == ranges(
        (4 * GiB, 5 * GiB + 256 * MiB)
    )
    wide = PhysicalTarget(ranges=ranges((GiB, 3 * GiB), (4 * GiB + 1, 4 * GiB + 8193)))
    assert read_physical(fs, Roots(), wide) == ranges(
        (GiB, 2 * GiB), (4 * GiB + 4096, 4 * GiB + 8192)
    )
    with pytest.raises(HostError, match="no System RAM"):
        read_physical(fs, Roots(), PhysicalTarget(ranges=ranges((3 * GiB, 4 * GiB))))


@pytest.mark.skipif(os.geteuid() != 0, reason="real addresses need root")
def test_this_machine_has_as_much_ram_as_its_meminfo_says() -> None:
    fs, roots = RealFilesystem(), Roots()
    ram = total_bytes(read_system_ram(fs, roots))
    total = read_meminfo(fs, roots)["MemTotal"]
    assert total <= ram <= total * 1.25 + 512 * MiB
    nodes = read_nodes(fs, roots)
    assert sum(total_bytes(read_node_ranges(fs, roots, nid)) for nid in nodes) == ram


def test_a_node_directory_without_nodes_counts_as_none() -> None:
    fs = FakeFilesystem({"/sys/devices/system/node/possible": "0\n"})
    assert read_nodes(fs, Roots()) == (0,)
