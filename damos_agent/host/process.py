"""The processes of the machine, read again and again at the price of one small file each."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from damos_agent.algo.target import Process
from damos_agent.host.filesystem import GONE, Filesystem, read_if_there
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError

__all__ = ["Field", "Process", "ProcessTable", "Stat", "parse_stat", "read_own_pid", "read_stat"]

RECHECK_SCANS: Final = 16
"""Settled command lines and users are read anew once in so many scans."""

CMDLINE_MAX: Final = 32 * 1024
"""Characters of a command line that are looked at; a few processes have megabytes of it."""

_PF_KTHREAD: Final = 0x00200000
_DEAD_STATES: Final = frozenset("ZXx")
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})


class Field(StrEnum):
    """What a scan may be asked for beyond pid, start time and name."""

    EXE = "exe"
    CMDLINE = "cmdline"
    UID = "uid"
    CGROUP = "cgroup"


@dataclass(frozen=True, slots=True)
class Stat:
    """The useful part of /proc/PID/stat.

    `image` changes with every execve(2): the addresses of code, stack and arguments, which are
    randomised. They read as zeros without the right to ptrace, or repeat with address space
    randomisation off; then only a changed `comm` tells of an execve.
    """

    pid: int
    comm: str
    state: str
    kernel_thread: bool
    start_ticks: int
    image: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Neither zombie nor dead: it may still have memory."""
        return self.state not in _DEAD_STATES


def parse_stat(text: str) -> Stat:
    """Read one stat line (proc_pid_stat(5)); the name may itself hold spaces and parentheses."""
    head, _, tail = text.rpartition(")")
    pid, _, comm = head.partition(" (")
    fields = tail.split()
    return Stat(
        pid=int(pid),
        comm=comm,
        state=fields[0],
        kernel_thread=bool(int(fields[6]) & _PF_KTHREAD),
        start_ticks=int(fields[19]),
        image=(fields[23], fields[25], fields[45], fields[46]),
    )


def parse_stat_cpu(text: str) -> int:
    """CPU time of a stat line, user and system, in µs (proc_pid_stat(5), utime and stime)."""
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000 // os.sysconf("SC_CLK_TCK")


def parse_cmdline(text: str) -> str:
    """Arguments joined by spaces, at most `CMDLINE_MAX`; padding at the end is cut."""
    return text.rstrip("\0 ")[:CMDLINE_MAX].replace("\0", " ")


def parse_euid(text: str) -> int:
    """The effective uid of /proc/PID/status; -1 when there is none."""
    for line in text.splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[2])
    return -1


def parse_cgroup(text: str) -> str:
    """The v2 path of /proc/PID/cgroup; empty on a machine without that hierarchy."""
    for line in text.splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def read_stat(fs: Filesystem, roots: Roots, pid: int) -> Stat | None:
    """The process now, or None when it has gone or is not ours to see."""
    text = _read(fs, f"{roots.proc}/{pid}/stat")
    return parse_stat(text) if text else None


def read_own_pid(fs: Filesystem, roots: Roots) -> int:
    """Our pid as that proc mount counts; 0 when we are not in its pid namespace."""
    try:
        return int(fs.readlink(f"{roots.proc}/self"))
    except (OSError, ValueError):
        return 0


def _read(fs: Filesystem, path: str) -> str:
    try:
        return read_if_there(fs, path) or ""
    except OSError as error:
        if error.errno in _FORBIDDEN:
            return ""
        raise


@dataclass(slots=True)
class _Entry:
    """A process known from earlier scans, and which fields of it were read."""

    stat: Stat
    process: Process
    known: frozenset[Field] = frozenset()
    settled: frozenset[Field] = frozenset()


class ProcessTable:
    """Processes by (pid, start time), remembered from scan to scan.

    The executable is read once per execve. A command line and a user can change without one (a
    process sets its title, drops its privileges), so they count as settled only when two scans
    read the same, and are read again every `RECHECK_SCANS` scans: a late change is seen then.
    A cgroup is never settled, since anybody may move a process at any time.
    """

    def __init__(self, fs: Filesystem, roots: Roots) -> None:
        self._fs = fs
        self._roots = roots
        self._entries: dict[int, _Entry] = {}
        self._scans = 0

    def scan(
        self, needs: frozenset[Field] = frozenset(), pids: Iterable[int] | None = None
    ) -> tuple[Process, ...]:
        """Live processes, ascending by pid: all of them, or those among `pids`.

        `HostError` when proc itself cannot be listed.
        """
        self._scans += 1
        fresh: dict[int, _Entry] = {}
        for pid in sorted(self._listed() if pids is None else set(pids)):
            stat = read_stat(self._fs, self._roots, pid)
            if stat is not None and stat.alive and stat.pid == pid:
                fresh[pid] = self._entry(stat, needs)
        self._entries = fresh
        return tuple(entry.process for entry in fresh.values())

    def _listed(self) -> list[int]:
        try:
            names = self._fs.listdir(self._roots.proc)
        except OSError as error:
            raise HostError(
                "processes cannot be listed",
                path=self._roots.proc,
                errno=error.errno,
                hint="is proc mounted there?",
            ) from error
        return [int(name) for name in names if name.isdecimal()]

    def _entry(self, stat: Stat, needs: frozenset[Field]) -> _Entry:
        entry = self._entries.get(stat.pid)
        if entry is None or not _same_image(entry.stat, stat):
            process = Process(
                stat.pid, stat.start_ticks, stat.comm, kernel_thread=stat.kernel_thread
            )
            entry = _Entry(stat, process)
        if not stat.kernel_thread:
            for field in needs:
                self._fill(entry, field)
        return entry

    def _fill(self, entry: _Entry, field: Field) -> None:
        recheck = (entry.stat.pid + self._scans) % RECHECK_SCANS == 0 and field is not Field.EXE
        if field in entry.settled and not recheck:
            return
        before = entry.process
        entry.process = self._reread(before, field)
        same = field in entry.known and entry.process == before and field is not Field.CGROUP
        entry.known |= {field}
        if same or (field is Field.EXE and entry.process.exe):
            entry.settled |= {field}
        else:
            entry.settled -= {field}

    def _reread(self, process: Process, field: Field) -> Process:
        base = f"{self._roots.proc}/{process.pid}"
        match field:
            case Field.EXE:
                return replace(process, exe=_read_exe(self._fs, f"{base}/exe"))
            case Field.CMDLINE:
                text = _read(self._fs, f"{base}/cmdline")
                return replace(process, cmdline=parse_cmdline(text))
            case Field.UID:
                return replace(process, uid=parse_euid(_read(self._fs, f"{base}/status")))
            case Field.CGROUP:
                return replace(process, cgroup=parse_cgroup(_read(self._fs, f"{base}/cgroup")))


def _same_image(old: Stat, new: Stat) -> bool:
    return (old.start_ticks, old.comm, old.image) == (new.start_ticks, new.comm, new.image)


def _read_exe(fs: Filesystem, path: str) -> str:
    try:
        return fs.readlink(path).removesuffix(" (deleted)")
    except OSError as error:
        if error.errno in GONE or error.errno in _FORBIDDEN:
            return ""
        raise
