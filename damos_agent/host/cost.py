"""What savings are worth: memory in swap, and what it takes to hold it."""

from __future__ import annotations

from collections.abc import Iterable

from damos_agent.host.filesystem import Filesystem, read_if_there
from damos_agent.host.memory import read_process_memory
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement

_PAGE = 4096


def parse_mm_stat(text: str) -> int:
    """Bytes of memory a zram device takes (Documentation/admin-guide/blockdev/zram.rst)."""
    fields = text.split()
    return int(fields[2]) if len(fields) > 2 else 0


def read_backing(fs: Filesystem, roots: Roots, meminfo: dict[str, int]) -> int:
    """Memory that all zram devices and zswap take now, in bytes."""
    total = meminfo.get("Zswap", 0)
    try:
        names = fs.listdir(f"{roots.sysfs}/block")
    except OSError:
        return total
    for name in names:
        if name.startswith("zram"):
            text = _text(fs, f"{roots.sysfs}/block/{name}/mm_stat")
            total += parse_mm_stat(text)
    return total


def read_swapped(
    fs: Filesystem,
    roots: Roots,
    processes: Iterable[Placement],
    directory: str,
    meminfo: dict[str, int] | None,
) -> int | None:
    """Bytes in swap: of a cgroup (`directory`), of processes, or (`meminfo`) of the machine."""
    if meminfo is not None:
        return meminfo.get("SwapTotal", 0) - meminfo.get("SwapFree", 0)
    text = _text(fs, f"{directory}/memory.swap.current") if directory else ""
    if text:
        return int(text)
    found = [read_process_memory(fs, roots, one.pid) for one in processes]
    told = [memory.swap for memory in found if memory is not None]
    return sum(told) if told else None


def read_resident(fs: Filesystem, roots: Roots, pid: int | str) -> int:
    """Bytes a process has resident; 0 once it has gone."""
    fields = _text(fs, f"{roots.proc}/{pid}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def share_of(backing: int, swapped: int, swap_used: int) -> int:
    """Of the memory behind all swap, what is due to so many bytes of it."""
    return backing * swapped // swap_used if swap_used > 0 else 0


def _text(fs: Filesystem, path: str) -> str:
    try:
        return read_if_there(fs, path) or ""
    except OSError:
        return ""
