"""Which addresses of a process are worth sampling: what is mapped, in few ranges."""

from __future__ import annotations

from collections.abc import Iterator

from damos_agent.algo.ranges import around_gaps, union
from damos_agent.host.filesystem import Filesystem, read_if_there
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange

_KERNELS_OWN = ("[vsyscall]", "[vvar]", "[vvar_vclock]", "[vdso]")


def parse_areas(text: str) -> Iterator[AddressRange]:
    """Mappings in /proc/PID/maps that somebody could access.

    Reserved address space (no permissions at all), which can be terabytes, and the kernel's own
    pages are left out: sampling them would only thin out the samples of the rest.
    """
    for line in text.splitlines():
        where, permissions = line.split(" ", 2)[:2]
        if permissions.startswith("---") or line.endswith(_KERNELS_OWN):
            continue
        start, _, end = where.partition("-")
        yield AddressRange(int(start, 16), int(end, 16))


def read_areas(fs: Filesystem, roots: Roots, pid: int, most: int) -> tuple[AddressRange, ...]:
    """At most `most` ranges that hold all accessible mappings; empty once the process has gone.

    DAMON's operations take three, split at the two largest gaps. More of them cost nothing here
    and leave out more holes, which else take part in sampling and are charged to quotas.
    """
    path = f"{roots.proc}/{pid}/maps"
    try:
        text = read_if_there(fs, path)
    except OSError as error:
        raise HostError(
            f"the mappings of process {pid} cannot be read",
            path=path,
            errno=error.errno,
            hint="run as root, or with CAP_SYS_PTRACE",
        ) from error
    return around_gaps(union(parse_areas(text or "")), most)
