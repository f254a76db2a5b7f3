"""What tells that a workload pays for page-out: counters that only grow, and what is left of swap.

The machine's are read twice a second while a policy pages out, so they are cheap: three files kept
open, about 25 µs together.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from damos_agent.host.faults import read_faults
from damos_agent.host.filesystem import GONE, Filesystem, KeptFile, read_if_there
from damos_agent.host.process import parse_stat_cpu
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError

_ABSENT: Final = GONE | {errno.EOPNOTSUPP, errno.EACCES, errno.EPERM}
_REFAULTS: Final = ("workingset_refault_anon ", "workingset_refault_file ")


@dataclass(frozen=True, slots=True)
class Pulse:
    """Of the machine: pages ever needed again after they were evicted, and µs in which some task
    waited for memory or I/O. None: not told.
    """

    refaults: int | None
    memory_psi_us: int | None
    io_psi_us: int | None


@dataclass(frozen=True, slots=True)
class Payers:
    """Of those a policy is about: refaults as in `Pulse`, and bytes resident now."""

    refaults: int | None
    resident_bytes: int
    memory_psi_us: int | None = None
    io_psi_us: int | None = None


def parse_refaults(text: str) -> int | None:
    """Pages, from /proc/vmstat or a cgroup's memory.stat."""
    found = [_number_after(text, name) for name in _REFAULTS]
    known = [number for number in found if number is not None]
    return sum(known) if known else None


def parse_some_us(text: str) -> int | None:
    """The total of the first line, `some`, of a pressure file."""
    return _number_after(text, "total=")


def _number_after(text: str, name: str) -> int | None:
    # The name must begin a line or a word: a longer one may end in it.
    at = text.find(name)
    while at > 0 and text[at - 1] not in "\n ":
        at = text.find(name, at + 1)
    if at < 0:
        return None
    start = at + len(name)
    end = start
    while end < len(text) and text[end].isdigit():
        end += 1
    return int(text[start:end]) if end > start else None


class PulseReader:
    """Reads `Pulse` again and again."""

    def __init__(self, fs: Filesystem, roots: Roots) -> None:
        self._vmstat = KeptFile(fs, f"{roots.proc}/vmstat")
        self._memory = KeptFile(fs, f"{roots.proc}/pressure/memory")
        self._io = KeptFile(fs, f"{roots.proc}/pressure/io")

    def read(self) -> Pulse:
        """The machine now."""
        vmstat, memory, io = _text(self._vmstat), _text(self._memory), _text(self._io)
        return Pulse(parse_refaults(vmstat), parse_some_us(memory), parse_some_us(io))

    def close(self) -> None:
        """Give the descriptors back."""
        for file in (self._vmstat, self._memory, self._io):
            file.close()


def _text(file: KeptFile) -> str:
    try:
        return file.read()
    except OSError as error:
        file.close()
        if error.errno in _ABSENT:
            return ""
        raise HostError("cannot be read", path=str(error.filename or ""), errno=error.errno) from (
            error
        )


def read_group(fs: Filesystem, directory: str) -> Payers | None:
    """Of a cgroup with everything below; None where it tells nothing of its memory."""
    stat = _optional(fs, f"{directory}/memory.stat")
    refaults = parse_refaults(stat)
    current = _optional(fs, f"{directory}/memory.current")
    if refaults is None or not current:
        return None
    return Payers(
        refaults,
        int(current),
        parse_some_us(_optional(fs, f"{directory}/memory.pressure")),
        parse_some_us(_optional(fs, f"{directory}/io.pressure")),
    )


def _optional(fs: Filesystem, path: str) -> str:
    try:
        return read_if_there(fs, path) or ""
    except OSError as error:
        if error.errno in _ABSENT:
            return ""
        raise HostError("cannot be read", path=path, errno=error.errno) from error


class FaultCounter:
    """Refaults of processes, told by their major faults.

    A major fault may also be the first look at a file. So no more count than the whole machine had
    refaults in the same time. Processes that come bring nothing with them.
    """

    def __init__(self, fs: Filesystem, roots: Roots) -> None:
        self._fs = fs
        self._roots = roots
        self._known: dict[Placement, int] = {}
        self._machine: int | None = None
        self._total = 0

    def read(self, processes: Iterable[Placement], machine: int | None) -> Payers:
        """`machine`: refaults of the whole machine, from `Pulse`."""
        found = {one: read_faults(self._fs, self._roots, one) for one in processes}
        told = {one: faults for one, faults in found.items() if faults is not None}
        new = sum(
            max(faults.count - self._known.get(one, faults.count), 0)
            for one, faults in told.items()
        )
        if machine is not None and self._machine is not None:
            new = min(new, max(machine - self._machine, 0))
        self._known = {one: faults.count for one, faults in told.items()}
        self._machine = machine
        self._total += new
        return Payers(self._total, sum(faults.resident_bytes for faults in told.values()))


def read_cpu_us(fs: Filesystem, roots: Roots, pid: int) -> int | None:
    """CPU time a process or kernel thread has taken, in steps of 10 ms; None once it has gone."""
    text = _optional(fs, f"{roots.proc}/{pid}/stat")
    return parse_stat_cpu(text) if text else None
