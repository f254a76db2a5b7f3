"""Looks after whoever pays for page-out.

Twice a second it reads three counters of the machine. Only when these stir, or a policy is limited
already, does it look at the policies' own; while all is calm, once in half a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from damos_agent.agent.survey import Machine
from damos_agent.agent.warden import Ward
from damos_agent.algo.guard import Guard, Signal, Stage, guard
from damos_agent.algo.signals import FLOOR_PAGES, Look, Reading, find_signals, keep
from damos_agent.host.cgroup import read_hierarchy
from damos_agent.host.harm import (
    FaultCounter,
    Payers,
    Pulse,
    PulseReader,
    read_cpu_us,
    read_group,
)
from damos_agent.host.memory import read_meminfo
from damos_agent.model.errors import HostError
from damos_agent.model.policy import External, PhysicalTarget

CALM_US: Final = 30_000_000
_STIR_PAGES: Final = FLOOR_PAGES // 8
_STIR_BP: Final = 200
"""Share of the time between two looks in which tasks waited that makes one look closer."""
_BP: Final = 10_000
_DEAREST: Final = 100


@dataclass(slots=True)
class _Watched:
    faults: FaultCounter
    looks: tuple[Look, ...] = ()
    signals: tuple[Signal, ...] = ()
    cost_us: int = 0
    """CPU time that the last look took."""


@dataclass(slots=True)
class HarmWatch:
    """`outside` reads numbers from outside; `own_cpu_us` is the agent's own CPU time."""

    machine: Machine
    outside: Callable[[External, int], int | None]
    own_cpu_us: Callable[[], int] = lambda: time.process_time_ns() // 1000
    _pulse: PulseReader = field(init=False)
    _last: Pulse | None = None
    _last_us: int = 0
    _stirred_at: int = 0
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _root: str | None = None

    def __post_init__(self) -> None:
        """Nothing is read yet."""
        self._pulse = PulseReader(self.machine.fs, self.machine.roots)

    def look(
        self, wards: Sequence[Ward], guards: Mapping[str, Guard], now_us: int
    ) -> dict[str, Guard]:
        """Guards that are otherwise than in `guards` now, of policies that page out."""
        try:
            pulse = self._pulse.read()
        except HostError:
            pulse = Pulse(None, None, None)  # unknown is bad news, as the guard sees it
        stirs = self._stirs(pulse, now_us)
        machine: dict[str, int] = {}
        changed = {}
        for ward in wards:
            name = ward.policy.name
            before = guards.get(name, Guard())
            if not (stirs or before.stage is not Stage.FREE or self._is_due(ward, now_us)):
                continue
            if self._is_dear(name, now_us):
                continue
            machine = machine or self._read_meminfo()
            after = guard(before, self._judge(ward, pulse, machine, now_us), now_us)
            if after != before:
                changed[name] = after
        return changed

    def signals_of(self, name: str) -> tuple[Signal, ...]:
        """As of the last look."""
        watched = self._watched.get(name)
        return watched.signals if watched else ()

    def look_of(self, name: str) -> Look | None:
        """The last one."""
        watched = self._watched.get(name)
        return watched.looks[-1] if watched and watched.looks else None

    def forget_all_but(self, names: Container[str]) -> None:
        """The others have gone."""
        self._watched = {n: one for n, one in self._watched.items() if n in names}

    def close(self) -> None:
        """Give descriptors back."""
        self._pulse.close()

    def _stirs(self, pulse: Pulse, now_us: int) -> bool:
        last, past_us = self._last, max(now_us - self._last_us, 1)
        self._last, self._last_us = pulse, now_us
        if last is None or pulse.refaults is None:
            return True
        waited = max(
            _growth(last.memory_psi_us, pulse.memory_psi_us),
            _growth(last.io_psi_us, pulse.io_psi_us),
        )
        # Counted since they last stirred: a trickle does not go unseen for ever.
        calm = pulse.refaults - self._stirred_at < _STIR_PAGES
        if calm and waited * _BP < _STIR_BP * past_us:
            return False
        self._stirred_at = pulse.refaults
        return True

    def _is_due(self, ward: Ward, now_us: int) -> bool:
        watched = self._watched.get(ward.policy.name)
        if watched is None or not watched.looks or ward.policy.guard.external:
            return True
        return now_us - watched.looks[-1].at_us >= CALM_US

    def _is_dear(self, name: str, now_us: int) -> bool:
        """Whether another look so soon would take more than a hundredth of a core.

        A thousand processes take ten milliseconds: a look a second.
        """
        watched = self._watched.get(name)
        if watched is None or not watched.looks:
            return False
        return now_us - watched.looks[-1].at_us < watched.cost_us * _DEAREST

    def _judge(
        self, ward: Ward, pulse: Pulse, machine: Mapping[str, int], now_us: int
    ) -> tuple[Signal, ...]:
        policy = ward.policy
        watched = self._watched.get(policy.name)
        if watched is None:
            watched = _Watched(FaultCounter(self.machine.fs, self.machine.roots))
            self._watched[policy.name] = watched
        begun_us = self.own_cpu_us()
        try:
            payers = self._payers(ward, watched.faults, pulse, machine)
            cpu_us = self._cpu_us(ward)
        except (HostError, OSError):
            payers, cpu_us = Payers(None, 0), None  # unknown is bad news, as the guard sees it
        watched.cost_us = self.own_cpu_us() - begun_us
        look = Look(
            now_us,
            payers.refaults,
            payers.resident_bytes,
            payers.memory_psi_us,
            payers.io_psi_us,
            machine.get("SwapTotal", 0),
            machine.get("SwapFree", 0),
            cpu_us,
        )
        watched.looks = keep(watched.looks, look)
        readings = [
            Reading(one.source.path or one.source.feed, self.outside(one.source, now_us), one.most)
            for one in policy.guard.external
        ]
        watched.signals = find_signals(policy.guard, watched.looks, readings)
        return watched.signals

    def _payers(
        self, ward: Ward, faults: FaultCounter, pulse: Pulse, machine: Mapping[str, int]
    ) -> Payers:
        """The target's own cgroup tells best; of processes only their faults are known."""
        target = ward.policy.target
        psi = (pulse.memory_psi_us, pulse.io_psi_us)
        if isinstance(target, PhysicalTarget):
            used = machine.get("MemTotal", 0) - machine.get("MemFree", 0)
            return Payers(pulse.refaults, used, *psi)
        path = self.machine.reader.group_path(target)
        found = read_group(self.machine.fs, self._hierarchy() + path) if path else None
        if found is not None:
            memory = found.memory_psi_us if found.memory_psi_us is not None else psi[0]
            io = found.io_psi_us if found.io_psi_us is not None else psi[1]
            return replace(found, memory_psi_us=memory, io_psi_us=io)
        own = faults.read(ward.processes, pulse.refaults)
        return replace(own, memory_psi_us=psi[0], io_psi_us=psi[1])

    def _hierarchy(self) -> str:
        if self._root is None:
            self._root = read_hierarchy(self.machine.fs, self.machine.roots)
        return self._root

    def _cpu_us(self, ward: Ward) -> int | None:
        fs, roots = self.machine.fs, self.machine.roots
        spent = [read_cpu_us(fs, roots, pid) for pid in ward.workers if pid > 0]
        known = [us for us in spent if us is not None]
        return sum(known) + self.own_cpu_us() if known and len(known) == len(spent) else None

    def _read_meminfo(self) -> dict[str, int]:
        try:
            return read_meminfo(self.machine.fs, self.machine.roots)
        except HostError:
            return {}


def _growth(then: int | None, now: int | None) -> int:
    return max(now - then, 0) if then is not None and now is not None else 0
