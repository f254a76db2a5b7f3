"""One policy monitored and acted for: what page and mapping contexts have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.algo.turn import Round
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import DamosError, HostError, OwnershipError
from damos_agent.model.policy import Mode, Policy
from damos_agent.model.userspace import (
    Canaries,
    ContextReport,
    Snapshot,
    SnapshotRegion,
    Work,
)
from damos_agent.userspace.actions import note
from damos_agent.userspace.actor import ProcessActor
from damos_agent.userspace.canary import CanaryGate
from damos_agent.userspace.canary_book import CanaryBook
from damos_agent.userspace.canary_state import CanaryLimits
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.filtering import FilteringActor
from damos_agent.userspace.governor import Governor, Wanted
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.monitor_lock import MonitorLock
from damos_agent.userspace.probe import MappingSampler, PageSampler, ProbeInfo
from damos_agent.userspace.schemes import Schemes, shape

Sampler = PageSampler | MappingSampler

ACTION_BP: Final = 5_000
"""Actions may take half a core at most, whatever the policy's quota allows."""
REOPEN_US: Final = 1_000_000
"""Processes that could not be watched are tried again after so long."""


@dataclass(slots=True)
class Target:
    """A process that is watched."""

    process: Placement
    sampler: Sampler
    lock: MonitorLock
    regions: list[Region] = field(default_factory=list)
    seen: bool = False

    def close(self) -> None:
        """Give everything back."""
        self.sampler.close()
        self.lock.close()


@dataclass(frozen=True, slots=True)
class Tools:
    """What contexts use of the machine, shared by all of them."""

    fs: Filesystem
    roots: Roots
    effects: Effects
    rng: Random


class Context(ABC):
    """`due_us`: when `turn` wants to be called, on the clock of the caller."""

    def __init__(self, work: Work, info: ProbeInfo, intervals: Intervals, tools: Tools) -> None:
        self.policy = work.policy
        self.info = info
        self.intervals = intervals
        self.tools = tools
        self.targets: dict[Placement, Target] = {}
        self.due_us = 0
        self.stall_us = 0
        self.stretched = 1.0
        self.stretch_reason = ""
        self.notes: dict[str, None] = {}
        self._wanted: tuple[Placement, ...] = ()
        self._left_out: dict[Placement, str] = {}
        self._reopen_us = 0
        self._cpu_ns = 0
        self._cpu_since_us: int | None = None
        self._cpu_bp = 0
        self._last_window: tuple[Intervals, list[tuple[int, ...]]] = (intervals, [])
        self.governor = self._govern()
        self.schemes = Schemes(tools.fs, tools.roots, self.policy, intervals)
        # One for the life of the context: what was found hot stays spared over an edit.
        self.gate = CanaryGate(CanaryBook(self._canary_limits()), tools.rng)
        self._actor = self._make_actor()
        self.retarget(work.processes)

    @abstractmethod
    def wanted(self) -> Wanted:
        """Intervals and regions the policy asks for, before the budget."""

    @abstractmethod
    def open(self, process: Placement) -> Sampler:
        """A sampler. Raises as the probes do."""

    @abstractmethod
    def work(self, now_us: int) -> None:
        """Look, judge, act; sets `due_us`."""

    def turn(self, now_us: int) -> None:
        """What is due now."""
        if now_us >= self._reopen_us:
            self._reopen_us = now_us + REOPEN_US
            self.open_missing()
        self.work(now_us)

    def edit(self, policy: Policy) -> None:
        """The policy has changed: what was learned of its processes stays."""
        monitoring_changed = policy.monitoring != self.policy.monitoring
        self.policy = policy
        if monitoring_changed:
            self.governor = self._govern()
            self.change_intervals(Intervals(self.wanted().sample_us, self.wanted().aggr_us))
        self.schemes.renew(policy, self.intervals)
        self.notes.clear()
        self._actor.inner.close()
        self._actor = self._make_actor()

    @abstractmethod
    def change_intervals(self, new: Intervals) -> None:
        """Run with others from now on, with shares and ages kept."""

    def retarget(self, processes: Iterable[Placement]) -> None:
        """Watch exactly these; what is known of those that stay is kept."""
        self._wanted = tuple(processes)
        for process in set(self.targets) - set(self._wanted):
            self.drop(process)
        self._left_out = {p: why for p, why in self._left_out.items() if p in self._wanted}
        self.open_missing()

    def open_missing(self) -> None:
        """Open whom we do not watch yet, or watched until it called exec."""
        renewed = []
        for process in self._wanted:
            if process in self.targets:
                continue
            try:
                lock = MonitorLock(self.tools.roots.run, process)
            except (HostError, OwnershipError) as error:
                self._left_out[process] = str(error)
                continue
            try:
                self.targets[process] = Target(process, self.open(process), lock)
            except ProcessLookupError:
                lock.close()
            except DamosError as error:
                lock.close()
                self._left_out[process] = str(error)
            else:
                self._left_out.pop(process, None)
                renewed.append(process)
        self._actor.inner.follow(self.targets, renewed)

    def drop(self, process: Placement) -> None:
        """It has gone, or its memory has."""
        self.targets.pop(process).close()
        self._actor.inner.follow(self.targets)

    def refuse(self, process: Placement, reason: str) -> None:
        """Watch it no longer, and say why."""
        self._left_out[process] = reason
        self.drop(process)

    def apply(self, now_us: int, tick: int, left_bp: int, size_limit: int) -> None:
        """A round of the schemes that are due."""
        if not self.schemes.due(tick):
            return
        # Whose memory was never looked at is not idle.
        targets = [(t.process, t.regions) for t in self.targets.values() if t.seen]
        budget_us = self.governor.round_budget_us()
        self._actor.begin_round(budget_us, now_us)
        round_ = Round(
            self._actor,
            now_us,
            tick,
            left_bp,
            self.intervals,
            PAGE_BYTES,
            size_limit,
            self.schemes.scores,
        )
        walked = self.schemes.apply(round_, targets)
        for (process, _), regions in zip(targets, walked, strict=True):
            self.targets[process].regions = regions
        self.governor.acted(self._actor.took_ns)

    def account(self, cpu_ns: int, now_us: int) -> None:
        """Monitoring took that much CPU time."""
        if self._cpu_since_us is None:
            self._cpu_since_us = now_us
        self._cpu_ns += cpu_ns
        past = now_us - self._cpu_since_us
        if past >= 10_000_000:
            self._cpu_bp = self._cpu_ns * 10 // past
            self._cpu_ns, self._cpu_since_us = 0, now_us

    def keep_snapshot(self) -> None:
        """Remember what the window that is over has shown."""
        self._last_window = (
            self.intervals,
            [
                (target.process.pid, r.start, r.end, r.nr_accesses, r.age, r.unknown)
                for target in self.targets.values()
                if target.seen
                for r in target.regions
            ],
        )

    def snapshot(self) -> Snapshot:
        """What the last window has shown."""
        intervals, rows = self._last_window
        return Snapshot(
            self.info.name,
            self.info.granularity,
            intervals.sample_us,
            intervals.aggr_us,
            intervals.samples,
            tuple(
                SnapshotRegion(pid, start, end, nr, age * intervals.aggr_us, unknown)
                for pid, start, end, nr, age, unknown in rows
            ),
        )

    def report(self, *, snapshot: bool = False) -> ContextReport:
        """How it fares."""
        stats = self.gate.book.stats
        nobody = self._wanted and not self.targets and len(self._left_out) == len(self._wanted)
        return ContextReport(
            policy=self.policy.name,
            refused="; ".join(dict.fromkeys(self._left_out.values())) if nobody else "",
            probe=self.info.name,
            granularity=self.info.granularity,
            targets=len(self.targets),
            regions=sum(len(target.regions) for target in self.targets.values()),
            sample_us=self.intervals.sample_us,
            aggr_us=self.intervals.aggr_us,
            schemes=self.schemes.stats(),
            stretched=round(self.stretched, 2),
            stretch_reason=self.stretch_reason,
            cpu_bp=self._cpu_bp,
            stall_us=self.stall_us,
            notes=self._notes(),
            canaries=Canaries(
                stats.sent * PAGE_BYTES,
                stats.came_back * PAGE_BYTES,
                stats.cancelled_bytes,
                stats.last_reason,
            ),
            snapshot=self.snapshot() if snapshot else None,
        )

    def close(self) -> None:
        """Give everything back."""
        for process in tuple(self.targets):
            with suppress(OSError):
                self.drop(process)
        self._actor.inner.close()

    def _notes(self) -> tuple[str, ...]:
        left_out = dict.fromkeys(self._left_out.values()) if self.targets else {}
        actions = (note(scheme.action) for scheme in self.policy.schemes)
        enforced = actions if self.policy.mode is Mode.ENFORCE else ()
        return tuple(dict.fromkeys((*filter(None, enforced), *self.notes, *left_out)))

    def _make_actor(self) -> FilteringActor:
        specs = shape(self.policy, self.intervals)
        update_us = self.policy.monitoring.update_us
        inner = ProcessActor(specs, self.tools.effects, self.gate, update_us)
        actor = FilteringActor(inner, specs, self.tools.fs, self.tools.roots)
        inner.follow(self.targets)
        return actor

    def _canary_limits(self) -> CanaryLimits:
        return CanaryLimits(wait_us=self.intervals.aggr_us)

    def _govern(self) -> Governor:
        budget = self.policy.monitoring.userspace
        return Governor(self.wanted(), budget.cpu_bp, budget.stall_us, ACTION_BP)


def thread_ns() -> int:
    """CPU time of this thread so far."""
    return time.thread_time_ns()
