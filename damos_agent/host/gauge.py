"""What goals of the agent's own are measured by, over the time between two looks."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from damos_agent.algo.signals import MINUTE_US
from damos_agent.host.filesystem import GONE, Filesystem, read_if_there
from damos_agent.host.goal import PsiSample, read_goal_current, read_psi_sample
from damos_agent.host.harm import FaultCounter, Payers, parse_refaults, read_group
from damos_agent.host.memory import (
    parse_psi,
    read_meminfo,
    read_process_memory,
)
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.model.policy import Goal, GoalMetric

_BP: Final = 10_000
_PAGE: Final = 4096
_ABSENT: Final = GONE | {errno.EOPNOTSUPP, errno.EACCES, errno.EPERM}
_PRESSURE: Final = {
    GoalMetric.MEMORY_PSI_SOME: ("memory", "some"),
    GoalMetric.MEMORY_PSI_FULL: ("memory", "full"),
    GoalMetric.IO_PSI_SOME: ("io", "some"),
    GoalMetric.IO_PSI_FULL: ("io", "full"),
}
_RATES: Final = {
    GoalMetric.REFAULT_RATE: "refaults",
    GoalMetric.SWAP_IN_RATE: "pswpin",
    GoalMetric.MAJOR_FAULT_RATE: "pgmajfault",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a policy is about: its processes, or its cgroup's directory, or (none of both) all."""

    processes: tuple[Placement, ...] = ()
    directory: str = ""
    physical: bool = False


@dataclass(slots=True)
class Gauge:
    """One per policy. Rates and shares of time are those since its last `read` of that goal."""

    fs: Filesystem
    roots: Roots
    hierarchy: str = ""
    _totals: dict[Goal, tuple[int, int]] = field(default_factory=dict)
    _faults: dict[Goal, FaultCounter] = field(default_factory=dict)
    _psi: PsiSample | None = None

    def read(self, goal: Goal, scope: Scope, now_us: int) -> int | None:
        """In the unit of the goal's target; None: not to be had, or not yet."""
        try:
            return self._read(goal, scope, now_us)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise HostError("cannot be read", path=error.filename, errno=error.errno) from error

    def _read(self, goal: Goal, scope: Scope, now_us: int) -> int | None:
        metric = goal.metric
        if metric in _PRESSURE:
            return self._share(goal, self._stalled_us(goal, scope), now_us)
        if metric in _RATES:
            return self._rate(goal, scope, now_us)
        match metric:
            case GoalMetric.RSS | GoalMetric.PSS:
                return self._processes(scope.processes, pss=metric is GoalMetric.PSS)
            case GoalMetric.MEMORY_CURRENT:
                directory = self._directory(goal, scope)
                text = read_if_there(self.fs, f"{directory}/memory.current") if directory else None
                return int(text) if text else None
            case GoalMetric.FREE_MEMORY:
                info = read_meminfo(self.fs, self.roots)
                return info.get("MemFree", 0) * _BP // max(info.get("MemTotal", 0), 1)
        previous, self._psi = self._psi, read_psi_sample(self.fs, self.roots, now_us)
        return read_goal_current(self.fs, self.roots, goal, previous, self._psi)

    def _directory(self, goal: Goal, scope: Scope) -> str:
        return f"{self.hierarchy}{goal.cgroup}" if goal.cgroup is not None else scope.directory

    def _stalled_us(self, goal: Goal, scope: Scope) -> int | None:
        """As the kernel's own goal, the machine's, unless the goal names a control group."""
        resource, kind = _PRESSURE[goal.metric]
        path = f"{self.roots.proc}/pressure/{resource}"
        if goal.cgroup is not None:
            path = f"{self._directory(goal, scope)}/{resource}.pressure"
        text = read_if_there(self.fs, path)
        if not text:
            return None
        psi = parse_psi(text)
        line = psi.some if kind == "some" else psi.full
        return line.total_us if line else None

    def _share(self, goal: Goal, total: int | None, now_us: int) -> int | None:
        past = self._since(goal, total, now_us)
        return None if past is None else min(past[0] * _BP // past[1], _BP)

    def _rate(self, goal: Goal, scope: Scope, now_us: int) -> int | None:
        """Pages a minute, in basis points of what is resident."""
        name = _RATES[goal.metric]
        vmstat = self.fs.read(f"{self.roots.proc}/vmstat")
        payers = self._payers(goal, scope, name, _count(vmstat, name))
        past = self._since(goal, payers.refaults, now_us)
        if past is None or not payers.resident_bytes:
            return None
        pages = payers.resident_bytes // _PAGE
        return past[0] * MINUTE_US // past[1] * _BP // max(pages, 1)

    def _payers(self, goal: Goal, scope: Scope, name: str, machine: int | None) -> Payers:
        if scope.physical and goal.cgroup is None:
            info = read_meminfo(self.fs, self.roots)
            return Payers(machine, info.get("MemTotal", 0) - info.get("MemFree", 0))
        directory = self._directory(goal, scope)
        group = read_group(self.fs, directory) if directory else None
        if group is not None:
            text = self.fs.read(f"{directory}/memory.stat")
            count = _count(text, name)
            if count is not None:
                return Payers(count, group.resident_bytes)
        faults = self._faults.setdefault(goal, FaultCounter(self.fs, self.roots))
        return faults.read(scope.processes, machine)

    def _since(self, goal: Goal, total: int | None, now_us: int) -> tuple[int, int] | None:
        """How much it grew, and in how many µs, since the last look."""
        last = self._totals.pop(goal, None)
        if total is None:
            return None
        self._totals[goal] = (total, now_us)
        if last is None or total < last[0] or now_us <= last[1]:
            return None
        return total - last[0], now_us - last[1]

    def _processes(self, processes: Iterable[Placement], *, pss: bool) -> int | None:
        found = [read_process_memory(self.fs, self.roots, one.pid, pss=pss) for one in processes]
        told = [memory for memory in found if memory is not None]
        if not told:
            return None
        return sum((one.pss or 0) if pss else one.rss for one in told)


def _count(text: str, name: str) -> int | None:
    if name == "refaults":
        return parse_refaults(text)
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None
