"""Puts the backends together: each policy gets a seat, the kernel's or the monitor's, and one
standing whoever serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from damos_agent.agent.events import Event, Logger, emit
from damos_agent.agent.fallback import fallbacks
from damos_agent.agent.link import MonitorLink
from damos_agent.agent.reconciler import Reconciler, Round, Standing
from damos_agent.algo.aim import check_aim
from damos_agent.algo.choose import Backend, Seat, Verdicts, choose
from damos_agent.host.system import read_uptime_us
from damos_agent.model.damon import Placement
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import BackendChoice, Mode, PhysicalTarget, Policy
from damos_agent.model.settings import Settings
from damos_agent.model.status import Fallback, PolicyState
from damos_agent.model.userspace import ContextReport, Snapshot, Work
from damos_agent.userspace.capable import check_policy

NO_MONITOR = "user space can serve it, but only the agent that stays does, not a single round"
STARTING = "the monitor process is starting"


@dataclass(slots=True)
class Seating:
    """`link` is None where there is no monitor process to be had (`--once`, `--dry-run`)."""

    reconciler: Reconciler
    link: MonitorLink | None
    logger: Logger
    seats: dict[str, Seat] = field(default_factory=dict)
    fallbacks: dict[str, Fallback] = field(default_factory=dict)
    processes: dict[str, tuple[Placement, ...]] = field(default_factory=dict)
    _probes: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def reconcile(self, policies: Mapping[str, Policy], settings: Settings) -> Round:
        """One round over both backends. Raises as `Reconciler.reconcile`."""
        machine = self.reconciler.machine
        now_us = read_uptime_us(machine.fs, machine.roots)
        self.seats = {name: seat for name, seat in self.seats.items() if name in policies}
        parked = self._parked(policies)
        done = self.reconciler.reconcile(policies, settings, parked)
        self._take_seats(policies, done, now_us)
        self._note_fallbacks(policies, done)
        if self._parked(policies) != parked:
            # Whoever goes back to the kernel lets go of it here first, and the other way round.
            self._order(policies, done, now_us)
            done = self.reconciler.reconcile(policies, settings, self._parked(policies))
        self._order(policies, done, now_us)
        standings = {
            name: self._standing(name, policy, done, done.standings[name])
            for name, policy in policies.items()
        }
        return replace(done, standings=standings, retry_us=self._retry_us(done))

    def context(self, name: str) -> ContextReport | None:
        """What the monitor last said of that policy, if it serves it."""
        if self.link is None or not self.is_userspace(name):
            return None
        return next((c for c in self.link.report.contexts if c.policy == name), None)

    def snapshot(self, name: str) -> Snapshot | None:
        """That policy's regions, of the monitor: waits two seconds for it at most."""
        if self.link is None or not self.is_userspace(name):
            return None
        machine = self.reconciler.machine
        report = self.link.inquire(read_uptime_us(machine.fs, machine.roots))
        found = [one for one in report.contexts if one.policy == name] if report else []
        return found[0].snapshot if found else None

    def is_userspace(self, name: str) -> bool:
        """Whether the monitor serves that policy."""
        seat = self.seats.get(name)
        return seat is not None and seat.backend is Backend.USERSPACE

    def tell_probes(self) -> None:
        """Log how each policy's accesses are told, whenever that changes."""
        contexts = self.link.report.contexts if self.link else ()
        limits = {rung.name: rung.limits for rung in (self.link.report.rungs if self.link else ())}
        for one in contexts:
            known = (one.probe, one.notes)
            if one.probe and self._probes.get(one.policy) != known:
                self._probes[one.policy] = known
                emit(
                    self.logger,
                    Event.PROBE_SELECTED,
                    policy=one.policy,
                    probe=one.probe,
                    granularity=one.granularity,
                    limits=limits.get(one.probe, ""),
                    notes=list(one.notes),
                )

    def close(self) -> None:
        """End the monitor process."""
        if self.link:
            self.link.close()

    def _parked(self, policies: Mapping[str, Policy]) -> frozenset[str]:
        forced = {n for n, p in policies.items() if p.backend is BackendChoice.USERSPACE}
        return frozenset(forced | {name for name in policies if self.is_userspace(name)})

    def _take_seats(self, policies: Mapping[str, Policy], done: Round, now_us: int) -> None:
        for name, policy in policies.items():
            if name not in done.kernel:
                continue  # nobody to look after: no seat is needed, and one that was had is kept
            before = self.seats.get(name)
            found = self._verdicts(name, policy, done.kernel[name])
            seat = choose(policy.backend, found, before, now_us)
            self.seats[name] = seat
            self._tell(name, before, seat)

    def _note_fallbacks(self, policies: Mapping[str, Policy], done: Round) -> None:
        """Who waits for the kernel to stay usable keeps the reason why it was lost."""
        served = [name for name in policies if self.is_userspace(name)]
        features = self.reconciler.machine.features
        found = fallbacks({n: policies[n] for n in served}, done.kernel, done.survey, features)
        known = self.fallbacks | found
        self.fallbacks = {name: known[name] for name in served if name in known}

    def _verdicts(self, name: str, policy: Policy, kernel: str) -> Verdicts:
        userspace = _why_not(policy)
        if not userspace and self.link is None:
            userspace = NO_MONITOR
        said = self.context(name)
        if not userspace and not kernel and said:
            # Only with an alternative: what the monitor refuses now it may be able to do later.
            userspace = said.refused
        return Verdicts(kernel, userspace)

    def _tell(self, name: str, before: Seat | None, seat: Seat) -> None:
        was = before.backend if before else Backend.NONE
        routine = before is None and seat.backend is not Backend.USERSPACE
        if was is not seat.backend and not routine:
            emit(
                self.logger,
                Event.BACKEND_CHANGED,
                policy=name,
                backend=seat.backend.value,
                was=was.value,
                reason=seat.reason,
            )

    def _order(self, policies: Mapping[str, Policy], done: Round, now_us: int) -> None:
        own = self.link.pid if self.link else None
        self.processes = {
            name: tuple(p for p in done.survey.selections[name].processes if p.pid != own)
            for name in policies
            if self.is_userspace(name)
        }
        self._probes = {n: known for n, known in self._probes.items() if n in self.processes}
        if self.link:
            # One that has lost its last process stays, with what it has counted.
            told = {work.policy.name for work in self.link.works}
            works = [
                Work(policies[name], found)
                for name, found in self.processes.items()
                if found or name in told
            ]
            self.link.order(works, now_us)

    def _standing(self, name: str, policy: Policy, done: Round, kernel: Standing) -> Standing:
        seat = self.seats.get(name)
        physical = isinstance(policy.target, PhysicalTarget)
        selection = done.survey.selections[name]
        if not physical and not selection.processes and policy.backend is not BackendChoice.KERNEL:
            return Standing(PolicyState.WAITING, selection.reason, kernel.slot)
        if seat is None or seat.backend is Backend.KERNEL:
            return kernel
        if seat.backend is Backend.NONE:
            return Standing(PolicyState.UNSUPPORTED, seat.reason)
        return self._served_here(name, policy)

    def _served_here(self, name: str, policy: Policy) -> Standing:
        if self.link is not None and self.link.failure:
            return Standing(PolicyState.FAILED, self.link.failure)
        said = self.context(name)
        if said is None:
            return Standing(PolicyState.WAITING, STARTING)
        if said.refused:
            reason = self.seats[name].reason
            both = f"kernel: {reason}; user space: {said.refused}" if reason else said.refused
            return Standing(PolicyState.UNSUPPORTED, both)
        observes = policy.mode is Mode.OBSERVE
        return Standing(PolicyState.OBSERVING if observes else PolicyState.ACTIVE)

    def _retry_us(self, done: Round) -> int | None:
        times = [done.retry_us, *(seat.returns_at_us for seat in self.seats.values())]
        times.append(self.link.retry_us if self.link else None)
        return min((when for when in times if when is not None), default=None)


def _why_not(policy: Policy) -> str:
    try:
        check_policy(policy)
        check_aim(policy)
    except UnsupportedError as error:
        return str(error)
    return ""
