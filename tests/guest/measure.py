"""What the guest's kernel says about memory: of one process's range, of nodes, of the machine."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path

from damos_agent.host.folio import PageFlags
from damos_agent.host.pagemap import Pagemap, frame
from damos_agent.host.roots import Roots

_ACTIVE = 1 << 6  # of /proc/kpageflags

Range = tuple[int, int]
"""Addresses from the first to below the second."""


@dataclass(slots=True)
class RangeUse:
    """What a range holds. Sizes in MiB, `flags` as in VmFlags with the MiB they hold for."""

    rss: float = 0.0
    swap: float = 0.0
    huge: float = 0.0
    flags: dict[str, float] = field(default_factory=dict)


def range_use(pid: int, within: Range) -> RangeUse:
    """Of the mappings of `pid` that lie inside the range, /proc/PID/smaps added up."""
    found, inside, size = RangeUse(), False, 0.0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if head:
            start, end = int(head[1], 16), int(head[2], 16)
            inside, size = within[0] <= start and end <= within[1], (end - start) / 2**20
        elif inside:
            _add(found, line.split(), size)
    return found


def _add(found: RangeUse, words: list[str], size: float) -> None:
    match words:
        case ["Rss:", kib, _]:
            found.rss += int(kib) / 1024
        case ["Swap:", kib, _]:
            found.swap += int(kib) / 1024
        case ["AnonHugePages:", kib, _]:
            found.huge += int(kib) / 1024
        case ["VmFlags:", *flags]:
            for flag in flags:
                found.flags[flag] = found.flags.get(flag, 0.0) + size


def range_nodes(pid: int, within: Range) -> dict[int, float]:
    """MiB of the range on each NUMA node, from /proc/PID/numa_maps (4 KiB pages)."""
    found: dict[int, float] = {}
    for line in Path(f"/proc/{pid}/numa_maps").read_text().splitlines():
        if within[0] <= int(line.split()[0], 16) < within[1]:
            for node, pages in re.findall(r" N(\d+)=(\d+)", line):
                found[int(node)] = found.get(int(node), 0.0) + int(pages) / 256
    return found


def active_share(pid: int, within: Range) -> float:
    """How much of what is resident there is on the active LRU list, by one page in eight."""
    addresses = range(*within, 8 * mmap.PAGESIZE)
    with Pagemap(pid) as pagemap, PageFlags(Roots()) as flags:
        frames = map(frame, pagemap.entries(addresses))
        active = [bool(flags.flags(pfn) & _ACTIVE) for pfn in frames if pfn is not None]
    return sum(active) / max(len(active), 1)


def meminfo(node: int | None = None) -> dict[str, float]:
    """/proc/meminfo, or one node's, in MiB."""
    path = "/proc/meminfo" if node is None else f"/sys/devices/system/node/node{node}/meminfo"
    lines = re.findall(r"(?:Node \d+ )?(\S+): +(\d+) kB", Path(path).read_text())
    return {name: int(kib) / 1024 for name, kib in lines}
