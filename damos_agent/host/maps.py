"""A process's mappings, as DAMON's virtual address operations would see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from damos_agent.algo.ranges import three_regions
from damos_agent.host.filesystem import Filesystem, read_if_there
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange


def parse_maps(text: str) -> tuple[AddressRange, ...]:
    """The VMAs of /proc/PID/maps, ascending.

    All kinds count, also stack, vdso and unreadable ones: DAMON walks every VMA of the mm. Only
    the vsyscall page is left out, which proc shows but which belongs to no mm.
    """
    found = []
    for line in text.splitlines():
        if line.endswith("[vsyscall]"):
            continue
        start, _, end = line.split(" ", 1)[0].partition("-")
        found.append(AddressRange(int(start, 16), int(end, 16)))
    return tuple(found)


def joined(mappings: Iterable[tuple[str, str]]) -> Iterator[AddressRange]:
    """Of ascending (start, end) as they stand in maps, those that touch made one.

    A process may have 65530 mappings: only where a run of them ends are there numbers to make.
    """
    start = end = ""
    for first, last in mappings:
        if first != end:
            if start:
                yield AddressRange(int(start, 16), int(end, 16))
            start = first
        end = last
    if start:
        yield AddressRange(int(start, 16), int(end, 16))


def read_ranges(fs: Filesystem, roots: Roots, pid: int) -> tuple[AddressRange, ...]:
    """The three regions of process `pid`; empty once it has gone and for a kernel thread.

    Raises as `read_mappings`.
    """
    return three_regions(parse_maps(read_mappings(fs, roots, pid)))


def read_mappings(fs: Filesystem, roots: Roots, pid: int, name: str = "maps") -> str:
    """The text of /proc/PID/maps, or another file that tells of its memory; empty once it has gone.

    `HostError` when it may not be read.
    """
    path = f"{roots.proc}/{pid}/{name}"
    try:
        return read_if_there(fs, path) or ""
    except OSError as error:
        raise HostError(
            f"the mappings of process {pid} cannot be read",
            path=path,
            errno=error.errno,
            hint="run as root, or with CAP_SYS_PTRACE",
        ) from error
