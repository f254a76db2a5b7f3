"""Which addresses of a process are worth sampling: what is mapped, in few ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from damos_agent.algo.ranges import around_gaps, union
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.maps import joined, read_mappings
from damos_agent.host.roots import Roots
from damos_agent.model.policy import AddressRange

_ACCESSIBLE: Final = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) (?!---)(?!.*\[v(?:syscall|var|var_vclock|dso)\]$)", re.MULTILINE
)


def parse_areas(text: str) -> Iterator[AddressRange]:
    """What somebody could access, by /proc/PID/maps; mappings that touch are one.

    Reserved address space (no permissions at all), which can be terabytes, and the kernel's own
    pages are left out: sampling them would only thin out the samples of the rest.
    """
    return joined(_ACCESSIBLE.findall(text))


def read_areas(fs: Filesystem, roots: Roots, pid: int, most: int) -> tuple[AddressRange, ...]:
    """At most `most` ranges that hold all accessible mappings; empty once the process has gone.

    DAMON's operations take three, split at the two largest gaps. More of them cost nothing here
    and leave out more holes, which else take part in sampling and are charged to quotas.
    """
    return around_gaps(union(parse_areas(read_mappings(fs, roots, pid))), most)
