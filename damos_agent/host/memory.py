"""Memory in numbers: pressure, meminfo of machine and nodes, cgroups, processes."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from damos_agent.host.filesystem import GONE, Filesystem, read_if_there
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError

_PSI_OFF: Final = GONE | {errno.EOPNOTSUPP}
_LRU: Final = frozenset({"inactive_anon", "active_anon", "inactive_file", "active_file"})


@dataclass(frozen=True, slots=True)
class PsiLine:
    """Shares of time in percent over 10, 60 and 300 s; `total_us` stalled since boot."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


@dataclass(frozen=True, slots=True)
class Psi:
    """Time some task, or all tasks (`full`; None for the machine's cpu), waited."""

    some: PsiLine
    full: PsiLine | None = None


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Bytes of a process: resident, its share of that (None if not asked), swapped out."""

    rss: int
    swap: int
    pss: int | None = None


def parse_psi(text: str) -> Psi:
    """A pressure file (Documentation/accounting/psi.rst)."""
    lines: dict[str, PsiLine] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        value = dict(pair.split("=", 1) for pair in pairs)
        lines[kind] = PsiLine(
            float(value["avg10"]),
            float(value["avg60"]),
            float(value["avg300"]),
            int(value["total"]),
        )
    return Psi(lines["some"], lines.get("full"))


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name (`MemTotal`, `Active` …), from /proc/meminfo or a node's meminfo.

    Counts without a unit (huge pages) stay counts.
    """
    found: dict[str, int] = {}
    for line in text.splitlines():
        head, colon, tail = line.partition(":")
        words = tail.split()
        if colon and words:
            name = head.split()[-1]  # a node's lines begin with "Node 0 "
            found[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return found


def parse_numa_stat(text: str) -> dict[str, dict[int, int]]:
    """Bytes by kind and node, from memory.numa_stat of cgroup v2."""
    found: dict[str, dict[int, int]] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        nodes = (pair.split("=", 1) for pair in pairs)
        found[kind] = {int(node[1:]): int(value) for node, value in nodes}
    return found


def read_psi(fs: Filesystem, roots: Roots, resource: str = "memory") -> Psi | None:
    """The machine's pressure on `resource` (memory, io, cpu); None where PSI is off."""
    return _read_psi(fs, f"{roots.proc}/pressure/{resource}")


def read_cgroup_psi(fs: Filesystem, directory: str, resource: str = "memory") -> Psi | None:
    """Pressure in the cgroup at `directory` (absolute); None where PSI is off or it has gone."""
    return _read_psi(fs, f"{directory}/{resource}.pressure")


def read_meminfo(fs: Filesystem, roots: Roots) -> dict[str, int]:
    """The machine's meminfo in bytes; `HostError` when it cannot be read."""
    path = f"{roots.proc}/meminfo"
    try:
        return parse_meminfo(fs.read(path))
    except OSError as error:
        raise HostError(
            "cannot be read", path=path, errno=error.errno, hint="is proc mounted?"
        ) from error


def read_node_meminfo(fs: Filesystem, roots: Roots, nid: int) -> dict[str, int] | None:
    """A node's meminfo in bytes; None for a node that does not exist.

    Without NUMA in the kernel, node 0 is the machine.
    """
    nodes = f"{roots.sysfs}/devices/system/node"
    text = read_if_there(fs, f"{nodes}/node{nid}/meminfo")
    if text is not None:
        return parse_meminfo(text)
    return read_meminfo(fs, roots) if nid == 0 and not fs.exists(nodes) else None


def read_cgroup_lru(fs: Filesystem, directory: str, nid: int) -> int | None:
    """Bytes a cgroup and its descendants have on the LRU lists of a node; None if not told.

    This is what the kernel's node_memcg goals count.
    """
    text = read_if_there(fs, f"{directory}/memory.numa_stat")
    if text is None:
        return None
    stat = parse_numa_stat(text)
    return sum(nodes.get(nid, 0) for kind, nodes in stat.items() if kind in _LRU)


def read_process_memory(
    fs: Filesystem, roots: Roots, pid: int, *, pss: bool = False
) -> ProcessMemory | None:
    """What a process holds; None once it has gone. `pss` walks its page tables: not for free."""
    base = f"{roots.proc}/{pid}"
    text = read_if_there(fs, f"{base}/smaps_rollup" if pss else f"{base}/status")
    if not text:
        return None
    body = text.partition("\n")[2]  # the heading of smaps_rollup is an address range
    value = parse_sizes(body)
    if not pss:
        return ProcessMemory(value.get("VmRSS", 0), value.get("VmSwap", 0))
    return ProcessMemory(value.get("Rss", 0), value.get("Swap", 0), value.get("Pss", 0))


def parse_sizes(text: str) -> dict[str, int]:
    """Bytes by name for the lines that end in `kB`; others are left out."""
    rows = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def _read_psi(fs: Filesystem, path: str) -> Psi | None:
    try:
        text = fs.read(path)
    except OSError as error:
        if error.errno in _PSI_OFF:
            return None
        raise HostError("cannot be read", path=path, errno=error.errno) from error
    return parse_psi(text) if text else None
