"""Physical memory: where the System RAM is, and which of it belongs to which NUMA node."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from damos_agent.algo.ranges import intersect, round_in, union
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange, PhysicalTarget

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

_RESOURCE: Final = re.compile(r"\s*([0-9a-f]+)-([0-9a-f]+) : (.*)")
_NODE: Final = re.compile(r"node(\d+)")
_BLOCK: Final = re.compile(r"memory(\d+)")
_ZONE: Final = re.compile(r"Node (\d+), zone")


def parse_iomem(text: str) -> tuple[AddressRange, ...]:
    """System RAM of /proc/iomem in whole pages, ascending.

    Nested entries count, and hot-plugged kinds such as `System RAM (kmem)`, as they do for the
    kernel. `HostError` when the addresses are hidden, or when there is no System RAM at all.
    """
    found = []
    for line in text.splitlines():
        match = _RESOURCE.fullmatch(line)
        if match is not None and match[3].startswith("System RAM"):
            found.append(AddressRange(int(match[1], 16), int(match[2], 16) + 1))
    if found and all(item.end <= 1 for item in found):
        raise HostError(
            "the addresses of physical memory are hidden",
            path="/proc/iomem",
            hint="run as root, or with CAP_SYS_ADMIN",
        )
    if not found:
        raise HostError("no System RAM is listed", path="/proc/iomem", hint="is this a container?")
    return round_in(found, PAGE_BYTES)


def parse_zoneinfo(text: str, page_bytes: int = PAGE_BYTES) -> dict[int, tuple[AddressRange, ...]]:
    """Addresses that each node's zones span, from /proc/zoneinfo.

    A span may have holes, and where nodes interleave it may hold memory of another node.
    """
    spans: dict[int, list[AddressRange]] = {}
    nid, spanned = 0, 0
    for line in text.splitlines():
        node = _ZONE.match(line)
        words = line.replace(":", " ").split()
        if node is not None:
            nid, spanned = int(node[1]), 0
            spans.setdefault(nid, [])
        elif words and words[0] == "spanned":
            spanned = int(words[1])
        elif words and words[0] == "start_pfn" and spanned:
            start = int(words[1])
            spans[nid].append(AddressRange(start * page_bytes, (start + spanned) * page_bytes))
    return {node_id: union(ranges) for node_id, ranges in spans.items()}


def read_system_ram(fs: Filesystem, roots: Roots) -> tuple[AddressRange, ...]:
    """All System RAM. Errors as `parse_iomem`, and `HostError` when it cannot be read."""
    return parse_iomem(_read(fs, f"{roots.proc}/iomem"))


def read_nodes(fs: Filesystem, roots: Roots) -> tuple[int, ...]:
    """NUMA nodes of this machine, ascending; (0,) where the kernel knows no NUMA."""
    try:
        names = fs.listdir(f"{roots.sysfs}/devices/system/node")
    except OSError:
        return (0,)
    found = sorted(int(m[1]) for m in map(_NODE.fullmatch, names) if m is not None)
    return tuple(found) or (0,)


def read_node_ranges(fs: Filesystem, roots: Roots, nid: int) -> tuple[AddressRange, ...]:
    """System RAM of node `nid`: its memory blocks, cut to what its zones span.

    Zones alone decide where there are no memory blocks (no memory hot-plug in the kernel).
    `HostError` for a node that does not exist. Empty for a node without memory.
    """
    nodes = read_nodes(fs, roots)
    if nid not in nodes:
        raise HostError(
            f"there is no NUMA node {nid}",
            hint=f"nodes of this machine: {', '.join(map(str, nodes))}",
        )
    ram = read_system_ram(fs, roots)
    spans = parse_zoneinfo(_read(fs, f"{roots.proc}/zoneinfo")).get(nid, ())
    blocks = union(_blocks(fs, roots, nid))
    # A block can hold memory of two nodes, and zones can overlap: together they are exact.
    return intersect(intersect(ram, spans), blocks) if blocks else intersect(ram, spans)


def read_physical(fs: Filesystem, roots: Roots, target: PhysicalTarget) -> tuple[AddressRange, ...]:
    """The System RAM a target means. Given ranges are cut to the RAM in them.

    `HostError` when that leaves nothing, or as the functions above.
    """
    if target.numa_node is not None:
        ram = read_node_ranges(fs, roots, target.numa_node)
    else:
        ram = read_system_ram(fs, roots)
    if target.ranges:
        ram = round_in(intersect(ram, target.ranges), PAGE_BYTES)
    if not ram:
        raise HostError(
            "the target holds no System RAM", path="/proc/iomem", hint="compare with /proc/iomem"
        )
    return ram


def _blocks(fs: Filesystem, roots: Roots, nid: int) -> Iterator[AddressRange]:
    """Memory blocks linked below the node; a block's number is its address over the block size."""
    try:
        names = fs.listdir(f"{roots.sysfs}/devices/system/node/node{nid}")
        size = int(fs.read(f"{roots.sysfs}/devices/system/memory/block_size_bytes"), 16)
    except OSError:
        return
    for match in map(_BLOCK.fullmatch, names):
        if match is not None:
            start = int(match[1]) * size
            yield AddressRange(start, start + size)


def _read(fs: Filesystem, path: str) -> str:
    try:
        return fs.read(path)
    except OSError as error:
        raise HostError(
            "the layout of physical memory cannot be read",
            path=path,
            errno=error.errno,
            hint="run as root",
        ) from error
