"""Which processes a policy's target means, and at which index each of them is monitored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from damos_agent.model.damon import PLACEHOLDER_PID, Placement
from damos_agent.model.policy import (
    CgroupTarget,
    ContainerTarget,
    PhysicalTarget,
    PidTarget,
    ProcessTarget,
    Target,
    UnitTarget,
)
from damos_agent.model.units import plural

GroupTarget = CgroupTarget | UnitTarget | ContainerTarget

_FREE = Placement(PLACEHOLDER_PID, 0)


@dataclass(frozen=True, slots=True)
class Process:
    """A live process (thread group). Fields nobody asked for are empty, `uid` then is -1.

    `exe` is the absolute path of the executable, without the kernel's ` (deleted)`; `cmdline` the
    arguments joined by spaces; `uid` the effective one; `cgroup` its path in the v2 hierarchy.
    """

    pid: int
    start_ticks: int
    comm: str = ""
    exe: str = ""
    cmdline: str = ""
    uid: int = -1
    cgroup: str = ""
    kernel_thread: bool = False

    @property
    def placement(self) -> Placement:
        """What names this process beyond the reuse of its pid."""
        return Placement(self.pid, self.start_ticks)


@dataclass(frozen=True, slots=True)
class Selection:
    """The processes of a target, oldest first; `reason` says in words why there is none."""

    processes: tuple[Placement, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the machine. Everything that is selected in a tick is selected from one of it.

    `groups` holds the pids of each cgroup-like target, or the reason why they are unknown; `uids`
    the users asked for (None: no such user); `search(pattern, text)` tells whether a command
    line matches; `pinned` the start time a pid of a `PidTarget` must have, where that is known.
    """

    processes: Mapping[int, Process]
    own_pid: int = 0
    groups: Mapping[GroupTarget, frozenset[int] | str] | None = None
    uids: Mapping[str, int | None] | None = None
    search: Callable[[str, str], bool] = lambda _pattern, _text: False
    pinned: Mapping[int, int] | None = None


def match(target: Target, snapshot: Snapshot) -> Selection:
    """The processes `target` means. Physical memory has none, and needs no reason for it."""
    match target:
        case PidTarget():
            return _match_pids(target, snapshot)
        case ProcessTarget():
            return _match_processes(target, snapshot)
        case CgroupTarget() | UnitTarget() | ContainerTarget():
            return _match_group(target, snapshot)
        case PhysicalTarget():
            return Selection()
    assert_never(target)


def describe(target: Target) -> str:
    """The target in a few words, as it is written in a policy."""
    match target:
        case PidTarget():
            noun = "process" if len(target.pids) == 1 else "processes"
            return f"{noun} {', '.join(map(str, target.pids))}"
        case ProcessTarget():
            pairs = (("exe", target.exe), ("cmdline", target.cmdline), ("user", target.user))
            return " ".join(f"{k}={v}" for k, v in pairs if v is not None)
        case CgroupTarget():
            return f"cgroup {target.path}"
        case UnitTarget():
            return f"systemd unit {target.unit}"
        case ContainerTarget():
            return f"container {target.id_prefix}"
        case PhysicalTarget(numa_node=None, ranges=()):
            return "physical memory"
        case PhysicalTarget(numa_node=None):
            return f"physical memory in {plural(len(target.ranges), 'range')}"
        case PhysicalTarget():
            return f"physical memory of node {target.numa_node}"
    assert_never(target)


def _match_pids(target: PidTarget, snapshot: Snapshot) -> Selection:
    pinned = snapshot.pinned or {}
    found, missing = [], []
    for pid in dict.fromkeys(target.pids):
        process = snapshot.processes.get(pid)
        if process is None:
            missing.append(f"no process {pid}")
        elif process.kernel_thread:
            missing.append(f"process {pid} ({process.comm}) is a kernel thread")
        elif pinned.get(pid, process.start_ticks) != process.start_ticks:
            missing.append(f"process {pid} has exited, and its pid now is another's")
        else:
            found.append(process)
    return _selection(found, "; ".join(missing))


def _match_processes(target: ProcessTarget, snapshot: Snapshot) -> Selection:
    uid = None
    if target.user is not None:
        uid = (snapshot.uids or {}).get(target.user)
        if uid is None:
            return Selection((), f"no user {target.user} on this machine")
    found = [
        process
        for process in _eligible(snapshot)
        if (uid is None or process.uid == uid)
        and (target.exe is None or _is_exe(target.exe, process.exe))
        and (target.cmdline is None or snapshot.search(target.cmdline, process.cmdline))
    ]
    return _selection(found, f"no process matches {describe(target)}")


def _match_group(target: GroupTarget, snapshot: Snapshot) -> Selection:
    members = (snapshot.groups or {}).get(target, f"{describe(target)} was not looked at")
    if isinstance(members, str):
        return Selection((), members)
    found = [process for process in _eligible(snapshot) if process.pid in members]
    return _selection(found, f"{describe(target)} has no process")


def _eligible(snapshot: Snapshot) -> Iterable[Process]:
    return (
        process
        for process in snapshot.processes.values()
        if not process.kernel_thread and process.pid != snapshot.own_pid
    )


def _is_exe(wanted: str, exe: str) -> bool:
    return exe == wanted if wanted.startswith("/") else exe.rpartition("/")[2] == wanted


def _selection(found: Collection[Process], reason: str) -> Selection:
    ordered = sorted(found, key=lambda p: (p.start_ticks, p.pid))
    return Selection(tuple(p.placement for p in ordered), "" if ordered else reason)


def place(previous: tuple[Placement, ...], alive: Iterable[Placement]) -> tuple[Placement, ...]:
    """Target indexes for `alive`: survivors stay, new ones fill freed indexes, then append.

    An index that stays free holds the placeholder, so that those behind it keep theirs; at the
    end none is needed. The same pid with another start time is another process.
    """
    waiting = dict.fromkeys(alive)
    placed: list[Placement] = []
    for old in previous:
        placed.append(old if old in waiting else _FREE)
        waiting.pop(old, None)
    newcomers = iter(waiting)
    for index, held in enumerate(placed):
        if held == _FREE:
            placed[index] = next(newcomers, _FREE)
    placed.extend(newcomers)
    while placed and placed[-1] == _FREE:
        placed.pop()
    return tuple(placed)
