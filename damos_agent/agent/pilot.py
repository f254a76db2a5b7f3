"""Steers the quotas of schemes whose goals only the agent measures: reads, scores, steps.

Loaded when a policy first has such a goal. What it decides goes the way of everything that is held
(`algo.overlay`), so that any kernel and user space follow alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from damos_agent.agent.survey import Machine
from damos_agent.agent.warden import Ward
from damos_agent.algo.goals import (
    allowed,
    bounds_of,
    moved,
    pushed,
    room,
    score,
    split,
    step_us,
)
from damos_agent.algo.overlay import Hold
from damos_agent.algo.record import GoalValue, QuotaDecision
from damos_agent.algo.steer import Steering, begin, steer, worst
from damos_agent.host.cgroup import read_hierarchy
from damos_agent.host.gauge import Gauge, Scope
from damos_agent.model.damon import SchemeStats
from damos_agent.model.errors import HostError
from damos_agent.model.policy import External, Goal, PhysicalTarget, Scheme

Stats = Callable[[str], Sequence[SchemeStats] | None]
"""Counters of a policy's schemes now, by its name; None: they cannot be had."""


@dataclass(slots=True)
class _Flight:
    """One scheme under way. `tried`: bytes as of `at_us`, when `values` were read; `left`: bytes a
    quota interval that are missing then (`algo.goals.room`).
    """

    scheme: Scheme
    state: Steering
    at_us: int
    tried: int | None
    values: dict[Goal, int | None] = field(default_factory=dict)

    left: int | None = None
    push: int = 1

    @property
    def size(self) -> int:
        """Bytes that are allowed now."""
        return allowed(self.state.quota, self.left, self.push)


@dataclass(slots=True)
class Pilot:
    """One per agent. `outside` reads numbers from outside, `decided` hears of every step."""

    machine: Machine
    outside: Callable[[External, int], int | None]
    decided: Callable[[str, QuotaDecision], None]
    _flights: dict[tuple[str, int], _Flight] = field(default_factory=dict)
    _gauges: dict[str, Gauge] = field(default_factory=dict)

    def step(
        self,
        wards: Sequence[Ward],
        holds: Mapping[str, Hold],
        stats: Stats,
        now_us: int,
    ) -> dict[str, dict[int, int]]:
        """Quotas by policy and scheme that are to be others now than those in `holds`."""
        names = {ward.policy.name for ward in wards}
        self._flights = {key: one for key, one in self._flights.items() if key[0] in names}
        self._gauges = {name: one for name, one in self._gauges.items() if name in names}
        changed = {}
        for ward in wards:
            name = ward.policy.name
            hold = holds.get(name, Hold())
            sizes = self._sizes(ward, hold, stats, now_us)
            if sizes and moved(hold.sizes, sizes):
                changed[name] = sizes
        return changed

    def steering(self, name: str, index: int) -> Steering | None:
        """How that scheme is steered, as of its last step."""
        flight = self._flights.get((name, index))
        return flight.state if flight else None

    def value(self, name: str, index: int, goal: Goal) -> int | None:
        """What that goal's metric was at the last step."""
        flight = self._flights.get((name, index))
        return flight.values.get(goal) if flight else None

    def _sizes(self, ward: Ward, hold: Hold, stats: Stats, now_us: int) -> dict[int, int]:
        counters: Sequence[SchemeStats] | None = None
        asked = False
        sizes = {}
        for index, scheme in enumerate(ward.policy.schemes):
            goals = split(scheme, self.machine.features)[1]
            if not goals or scheme.quota is None:
                continue
            flight = self._flight(ward.policy.name, index, scheme, goals, hold, now_us)
            if now_us - flight.at_us >= step_us(scheme.quota) or not flight.values:
                if not asked:
                    counters, asked = stats(ward.policy.name), True
                tried = _tried(counters, index)
                self._advance(ward, flight, index, tried, now_us, waits=bool(hold.why))
            sizes[index] = flight.size
        return sizes

    def _flight(
        self,
        name: str,
        index: int,
        scheme: Scheme,
        goals: tuple[Goal, ...],
        hold: Hold,
        now_us: int,
    ) -> _Flight:
        known = self._flights.get((name, index))
        if known is not None and known.scheme == scheme:
            return known
        assert scheme.quota is not None  # noqa: S101  # it has goals
        bounds = bounds_of(scheme.quota, goals)
        state = begin(bounds)
        if known is None and index in hold.sizes:
            # The agent was restarted: it goes on from where it was.
            state = begin(replace(bounds, seed=hold.sizes[index]))
        flight = _Flight(scheme, state, now_us, None)
        self._flights[name, index] = flight
        return flight

    def _advance(
        self,
        ward: Ward,
        flight: _Flight,
        index: int,
        tried: int | None,
        now_us: int,
        *,
        waits: bool,
    ) -> None:
        quota, goals = flight.scheme.quota, split(flight.scheme, self.machine.features)[1]
        assert quota is not None  # noqa: S101  # it has goals
        first, granted = not flight.values, flight.size
        flight.values = {goal: self._read(ward, goal, now_us) for goal in goals}
        missing, flight.left = flight.left, room(flight.values, quota)
        past_us, flight.at_us = now_us - flight.at_us, now_us
        before, flight.tried = flight.tried, tried
        if first or past_us <= 0:
            return  # nothing that was done can be judged yet
        used = flight.state.quota
        if before is not None and tried is not None and tried >= before:
            used = (tried - before) * quota.interval_us // past_us
            # Where less was allowed than steering would, that much less could be used.
            used = used * flight.state.quota // max(granted, 1)
        found = worst([score(goal, value) for goal, value in flight.values.items()])
        was, bounds = flight.state, bounds_of(quota, goals)
        after = steer(was, found, used, bounds)
        if waits and after.quota >= was.quota:
            return  # nothing is done meanwhile, so nothing of it has been too little
        flight.state = after
        flight.push = pushed(flight.push, missing, flight.left)
        told = tuple(GoalValue(goal, value) for goal, value in flight.values.items())
        decision = QuotaDecision(
            now_us, index, told, used, bounds, was, after, flight.left, flight.push, flight.size
        )
        self.decided(ward.policy.name, decision)

    def _read(self, ward: Ward, goal: Goal, now_us: int) -> int | None:
        if goal.source is not None:
            return self.outside(goal.source, now_us)
        name = ward.policy.name
        gauge = self._gauges.get(name)
        try:
            if gauge is None:
                gauge = Gauge(self.machine.fs, self.machine.roots, self._hierarchy())
                self._gauges[name] = gauge
            return gauge.read(goal, self._scope(ward), now_us)
        except HostError:
            return None

    def _scope(self, ward: Ward) -> Scope:
        path = self.machine.reader.group_path(ward.policy.target)
        directory = f"{self._hierarchy()}{path}" if path else ""
        physical = isinstance(ward.policy.target, PhysicalTarget)
        return Scope(ward.processes, directory, physical)

    def _hierarchy(self) -> str:
        try:
            return read_hierarchy(self.machine.fs, self.machine.roots)
        except HostError:
            return ""


def _tried(counters: Sequence[SchemeStats] | None, index: int) -> int | None:
    return counters[index].sz_tried if counters and index < len(counters) else None
