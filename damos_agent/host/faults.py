"""Major faults of a process: how often it had to wait for memory to be brought in."""

from __future__ import annotations

import os
from dataclasses import dataclass

from damos_agent.host.filesystem import Filesystem, read_if_there
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement


@dataclass(frozen=True, slots=True)
class MajorFaults:
    """`count`: of all its threads, ever, whatever was brought in; `resident_bytes`: now."""

    count: int
    resident_bytes: int


def parse_faults(text: str, start_ticks: int) -> MajorFaults | None:
    """From a line of /proc/PID/stat (proc_pid_stat(5)); None if it is another process's."""
    fields = text.rpartition(")")[2].split()
    if len(fields) < 22 or int(fields[19]) != start_ticks:
        return None
    return MajorFaults(int(fields[9]), int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


def read_faults(fs: Filesystem, roots: Roots, process: Placement) -> MajorFaults | None:
    """One small file, about 15 µs; None once it has gone, or where it is not shown."""
    try:
        text = read_if_there(fs, f"{roots.proc}/{process.pid}/stat") or ""
    except PermissionError:
        return None
    return parse_faults(text, process.start_ticks)
