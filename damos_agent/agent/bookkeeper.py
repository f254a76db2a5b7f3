"""One record per policy and interval: what was read, decided, done, and what it was worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from damos_agent.agent.survey import Machine
from damos_agent.agent.warden import Ward
from damos_agent.algo.guard import Guard, Signal
from damos_agent.algo.overlay import Hold
from damos_agent.algo.record import Decision, Effect, Input, OutcomeRecord, Savings, limit_of
from damos_agent.algo.steer import Steering
from damos_agent.host.cgroup import read_hierarchy
from damos_agent.host.cost import read_backing, read_resident, read_swapped, share_of
from damos_agent.host.harm import read_cpu_us
from damos_agent.host.memory import read_meminfo
from damos_agent.model.errors import HostError
from damos_agent.model.policy import PhysicalTarget, Policy
from damos_agent.model.status import SchemeOutcome

MOST_DECISIONS = 64
"""Of a policy in one record."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a record is made of besides counters: where the policy stands and what limits it.

    `refaults` and `resident`: as of the last look, pages ever and bytes; None where nobody looks.
    """

    digest: str
    state: str
    backend: str
    hold: Hold
    guard: Guard
    signals: Sequence[Signal] = ()
    steering: Sequence[Steering] = ()
    refaults: int | None = None
    resident: int | None = None


@dataclass(slots=True)
class _Known:
    """Of a policy, at its last record."""

    at_us: int
    refaults: int | None
    resident: int | None
    cpu_us: int | None
    agent_cpu_us: int


@dataclass(slots=True)
class _Round:
    """What all records of one round share."""

    meminfo: dict[str, int]
    backing: int
    overhead: int
    policies: int


@dataclass(slots=True)
class Bookkeeper:
    """One per agent. `wall` tells the time of day, `own_cpu_us` the agent's CPU time."""

    machine: Machine
    wall: Callable[[], float] = time.time
    own_cpu_us: Callable[[], int] = lambda: time.process_time_ns() // 1000
    _decisions: dict[str, list[Decision]] = field(default_factory=dict)
    _left_out: dict[str, int] = field(default_factory=dict)
    _known: dict[str, _Known] = field(default_factory=dict)
    _round: _Round | None = None

    def note(self, name: str, decision: Decision) -> None:
        """Something was decided for that policy."""
        decisions = self._decisions.setdefault(name, [])
        decisions.append(decision)
        if len(decisions) > MOST_DECISIONS:
            del decisions[0]
            self._left_out[name] = self._left_out.get(name, 0) + 1

    def begin_round(self, policies: int, monitor_pid: int | None) -> None:
        """Read what all records share; of policies that are gone nothing is kept."""
        fs, roots = self.machine.fs, self.machine.roots
        try:
            meminfo = read_meminfo(fs, roots)
        except HostError:
            meminfo = {}
        overhead = read_resident(fs, roots, "self")
        if monitor_pid:
            overhead += read_resident(fs, roots, monitor_pid)
        backing = read_backing(fs, roots, meminfo)
        self._round = _Round(meminfo, backing, overhead, max(policies, 1))

    def forget_all_but(self, names: frozenset[str]) -> None:
        """The others have gone."""
        for table in (self._decisions, self._left_out, self._known):
            for name in [name for name in table if name not in names]:
                del table[name]

    def record(
        self,
        ward: Ward,
        schemes: tuple[SchemeOutcome, ...],
        now: Circumstances,
        at_us: int,
    ) -> OutcomeRecord:
        """Of the time since the last one of that policy."""
        if self._round is None:
            self.begin_round(1, None)
        policy, before = ward.policy, self._known.get(ward.policy.name)
        worker_us, own_us = self._cpu_us(ward), self.own_cpu_us()
        self._known[policy.name] = _Known(at_us, now.refaults, now.resident, worker_us, own_us)
        code, reason = limit_of(schemes, now.hold.all_why, now.guard, now.steering)
        savings = self._savings(ward)
        return OutcomeRecord(
            policy=policy.name,
            digest=now.digest,
            mode=policy.mode.value,
            state=now.state,
            backend=now.backend,
            wall=round(self.wall(), 3),
            at_us=at_us,
            interval_us=at_us - before.at_us if before else 0,
            limited_by=code,
            reason=reason,
            inputs=tuple(self._inputs(ward, now, schemes)),
            decisions=tuple(self._decisions.pop(policy.name, ())),
            effect=Effect(
                tried=sum(one.sz_tried_delta for one in schemes),
                applied=sum(one.sz_applied_delta for one in schemes),
                refaults=_grown(before.refaults if before else None, now.refaults),
                resident_before=before.resident if before else None,
                resident_after=now.resident,
            ),
            cpu_us=_grown(before.cpu_us if before else None, worker_us),
            agent_cpu_us=own_us - before.agent_cpu_us if before else 0,
            savings=savings,
            net=savings.net if savings else None,
            schemes=schemes,
            left_out=self._left_out.pop(policy.name, 0),
        )

    def _inputs(
        self, ward: Ward, now: Circumstances, schemes: Sequence[SchemeOutcome]
    ) -> list[Input]:
        found = [
            Input(f"level:{one.name}", one.level_bp, "1/10000 of the limit", _SOURCES[one.name])
            if one.name in _SOURCES
            else Input(f"level:{one.name}", one.level_bp, "1/10000 of the limit", "external")
            for one in now.signals
        ]
        for scheme in schemes:
            found += [
                Input(f"goal:{scheme.index}:{goal.metric}", goal.current, goal.unit, goal.tuner)
                for goal in scheme.goals
            ]
        found.append(Input("resident", now.resident, "bytes", _scope(ward.policy)))
        found.append(Input("refaults", now.refaults, "pages", _scope(ward.policy)))
        return found

    def _savings(self, ward: Ward) -> Savings | None:
        shared = self._round
        assert shared is not None  # noqa: S101  # begun by `record`
        physical = isinstance(ward.policy.target, PhysicalTarget)
        fs, roots = self.machine.fs, self.machine.roots
        meminfo = shared.meminfo if physical else None
        try:
            where = self._directory(ward.policy)
            swapped = read_swapped(fs, roots, ward.processes, where, meminfo)
        except OSError:  # not ours to see
            swapped = None
        if swapped is None:
            return None
        used = shared.meminfo.get("SwapTotal", 0) - shared.meminfo.get("SwapFree", 0)
        backing = share_of(shared.backing, swapped, max(used, swapped))
        return Savings(swapped, backing, shared.overhead // shared.policies)

    def _directory(self, policy: Policy) -> str:
        path = self.machine.reader.group_path(policy.target)
        if not path:
            return ""
        try:
            return read_hierarchy(self.machine.fs, self.machine.roots) + path
        except HostError:
            return ""

    def _cpu_us(self, ward: Ward) -> int | None:
        fs, roots = self.machine.fs, self.machine.roots
        try:
            spent = [read_cpu_us(fs, roots, pid) for pid in ward.workers]
        except HostError:
            return None
        return sum(us for us in spent if us is not None) if spent else None


_SOURCES = {
    "refaults": "workingset_refault_*, or major faults",
    "memory_psi": "memory.pressure",
    "io_psi": "io.pressure",
    "swap_free": "/proc/meminfo",
    "cpu": "/proc/PID/stat",
}


def _scope(policy: Policy) -> str:
    if isinstance(policy.target, PhysicalTarget):
        return "machine"
    return "target"


def _grown(before: int | None, now: int | None) -> int | None:
    return now - before if before is not None and now is not None and now >= before else None
