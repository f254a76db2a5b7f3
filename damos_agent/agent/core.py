"""The agent without its loop: what is loaded, how it stands, and what it has to say.

Every method is one thing the loop does when its time has come. Nothing here waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import damos_agent
from damos_agent.agent.bookkeeper import Bookkeeper
from damos_agent.agent.changes import changes, reload_fields
from damos_agent.agent.events import Event, Logger, emit
from damos_agent.agent.loader import Loaded, merge, save_loaded
from damos_agent.agent.meters import Meters
from damos_agent.agent.outcome import OutcomeReader, PolicyOutcome
from damos_agent.agent.outside import Outside, parse_number
from damos_agent.agent.reconciler import Reconciler, Round, Standing
from damos_agent.agent.recorder import Recorder
from damos_agent.agent.seating import Seating
from damos_agent.agent.survey import Machine, select
from damos_agent.agent.tuning import Tuning
from damos_agent.agent.warden import FAST_US, Ward, Warden
from damos_agent.algo.goals import lift
from damos_agent.algo.guard import Stage
from damos_agent.algo.lower import ops_of
from damos_agent.algo.overlap import Shared, acts, find_shared, notes_of
from damos_agent.algo.overlay import is_stopped, look_interval_us, overlay, pages_out
from damos_agent.algo.target import describe
from damos_agent.host.system import read_uptime_us
from damos_agent.kernel.regions import read_regions
from damos_agent.model.codec import encode
from damos_agent.model.compiled import Compiled
from damos_agent.model.damon import PLACEHOLDER_PID, Placement
from damos_agent.model.errors import DamosError, HostError, KernelError
from damos_agent.model.feature import Feature, Ops
from damos_agent.model.policy import Mode, PhysicalTarget, PidTarget, Policy
from damos_agent.model.settings import Settings
from damos_agent.model.status import (
    AgentStatus,
    GuardStatus,
    PolicyState,
    PolicyStatus,
)
from damos_agent.model.userspace import ContextReport, Snapshot

if TYPE_CHECKING:
    from damos_agent.agent.forecaster import Forecaster

_RUNNING = (
    PolicyState.ACTIVE,
    PolicyState.PAUSED,
    PolicyState.OBSERVING,
    PolicyState.DRIFTED,
)
_ENFORCED = (PolicyState.ACTIVE, PolicyState.PAUSED, PolicyState.DRIFTED)

_PIDS_TOLD = 16
_SILENT_US = 10_000_000
_SILENT = "the monitor process has not answered for {} s: what is told here may be no longer true"


@dataclass(slots=True)
class Totals:
    """Counts since the agent started; times in seconds since the epoch.

    `reloads` include failed ones; `last_reload` is that of the last in which nothing was rejected.
    """

    started: float = 0.0
    reloads: int = 0
    reload_failures: int = 0
    last_reload: float = 0.0
    last_reload_ok: bool = True
    compile_error: str = ""


@dataclass(slots=True)
class Core:
    """`writes()` gives (sysfs writes, refused writes) so far; `wall` the time of day.

    `keeps`: last good versions are kept in /run for the next start. A dry run keeps nothing.
    """

    machine: Machine
    seating: Seating
    logger: Logger
    writes: Callable[[], tuple[int, int]]
    warden: Warden
    outside: Outside
    loaded: Loaded = field(default_factory=Loaded)
    keeps: bool = True
    wall: Callable[[], float] = time.time
    meters: Meters = field(default_factory=Meters)
    totals: Totals = field(default_factory=Totals)
    standings: dict[str, Standing] = field(default_factory=dict)
    outcomes: dict[str, PolicyOutcome] = field(default_factory=dict)
    shared: Shared = field(default_factory=dict)
    _told: bool = False
    _told_shared: set[tuple[str, ...]] = field(default_factory=set)
    _reader: OutcomeReader | None = None
    _outcome_asked: int | None = None
    _named: dict[str, Policy] = field(default_factory=dict)
    _named_of: Loaded | None = None
    _wards: tuple[Ward, ...] = ()
    _served: dict[str, Ward] = field(default_factory=dict)
    _forecaster: Forecaster | None = None
    _tuning: Tuning = field(init=False)
    _recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        """What is decided goes into the records."""
        books = Bookkeeper(self.machine, self.wall)
        self.warden.decided = books.note
        self._tuning = Tuning(self.machine, self.seating, self.outside.read, books.note)
        self._recorder = Recorder(
            self.machine, self.logger, self.warden, self._tuning, books, keeps=self.keeps
        )

    @property
    def reconciler(self) -> Reconciler:
        """What keeps the kernel matching."""
        return self.seating.reconciler

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings

    @property
    def policies(self) -> dict[str, Policy]:
        """Policies in force by name; each carries the digest of what it was made from."""
        if self._named_of is not self.loaded:
            self._named = {
                entry.policy.name: replace(
                    entry.policy, origin=replace(entry.policy.origin, digest=entry.digest)
                )
                for entry in self.loaded.policies
            }
            self._named_of = self.loaded
        return self._named

    def take(self, compiled: Compiled, trigger: str, duration_us: int) -> None:
        """Put what the compiler found in force, and log what that changed."""
        previous, self.loaded = self.loaded, merge(self.loaded, compiled, self.wall())
        # Not by the count of reloads: one whose compiler failed has told nothing.
        first, self._told = not self._told, True
        for event, fields in changes(previous, self.loaded, first=first):
            emit(self.logger, event, **fields)
        counts = reload_fields(previous, self.loaded)
        emit(
            self.logger,
            Event.RELOAD_FINISHED,
            trigger=trigger,
            duration_us=duration_us,
            **counts,
        )
        self.totals.reloads += 1
        self.totals.reload_failures += not self.loaded.ok
        if self.loaded.ok:
            self.totals.last_reload = self.wall()
        self.totals.last_reload_ok = self.loaded.ok
        self.totals.compile_error = ""
        if self.keeps:
            self._keep_loaded()

    def _keep_loaded(self) -> None:
        path = f"{self.machine.roots.run}/loaded.json"
        try:
            save_loaded(self.loaded, path)
        except HostError as error:
            emit(
                self.logger,
                Event.STATE_UNUSABLE,
                path=path,
                message=error.message,
                hint=error.hint,
            )

    def compile_failed(self, error: DamosError) -> None:
        """The compiler as a whole failed: everything goes on as it was."""
        emit(self.logger, Event.COMPILE_FAILED, message=error.message, hint=error.hint)
        self.totals.reloads += 1
        self.totals.reload_failures += 1
        self.totals.last_reload_ok = False
        self.totals.compile_error = str(error)

    def reconcile(self) -> Round | None:
        """One round; None when the machine could not be looked at (it is tried again)."""
        begun = time.monotonic()
        try:
            done = self.seating.reconcile(self._in_force(), self.settings)
        except (HostError, KernelError) as error:
            self.meters.failed(error)
            emit(
                self.logger,
                Event.RECONCILE_FAILED,
                message=str(error),
                hint=error.hint,
                path=error.path,
            )
            return None
        self.meters.reconciled(time.monotonic() - begun)
        self._take_standings(done.standings)
        self._served = {ward.policy.name: ward for ward in self._find_wards(done)}
        self._wards = tuple(
            ward
            for name, ward in self._served.items()
            if ward.policy.mode is Mode.ENFORCE and self.standings[name].state in _ENFORCED
        )
        self._recorder.forget_all_but(frozenset(self.policies))
        self._find_overlaps(done)
        return done

    def _in_force(self) -> dict[str, Policy]:
        """The policies as they are to be carried out now."""
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        holds = self.warden.hold(self.policies, self.settings, now_us)
        features = self.machine.features
        return {
            name: overlay(lift(policy, features), holds[name])
            for name, policy in self.policies.items()
        }

    def _find_wards(self, done: Round) -> Iterator[Ward]:
        link = self.seating.link
        for name, policy in self.policies.items():
            standing = self.standings[name]
            if standing.state not in _RUNNING:
                continue
            record = self.reconciler.ledger.slots.get(standing.slot)
            worker = record.kdamond_pid if record else None
            if self.seating.is_userspace(name):
                worker = link.pid if link else None
            processes = done.survey.selections[name].processes
            yield Ward(policy, processes, (worker,) if worker else ())

    def guard_due_us(self) -> int | None:
        """When to look for harm next, in boot time; None while nothing acts."""
        if not self._wards:
            return None
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        grace_us = self.settings.boot_grace_us
        return min(now_us + FAST_US, grace_us) if now_us < grace_us else now_us + FAST_US

    def look_for_harm(self) -> bool:
        """True when a round is due, because something is to be held or let go."""
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        return self.warden.look(self._wards, self.settings, now_us)

    @property
    def steers(self) -> bool:
        """Whether the agent tunes any quota by itself now."""
        return self._tuning.is_needed(self._wards)

    def steer(self) -> bool:
        """One step of each quota that the agent tunes. True when a round is due."""
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        slots = {name: standing.slot for name, standing in self.standings.items()}
        changed = self._tuning.step(self._wards, self.warden.holds, slots, now_us)
        for name, sizes in changed.items():
            self.warden.steer(name, sizes)
        return bool(changed)

    @property
    def look_interval_us(self) -> int | None:
        """Time between two looks at regions, for ages and predictions; None: nobody needs any."""
        return look_interval_us(ward.policy for ward in self._served.values())

    def forecast(self) -> bool:
        """Look at regions. True when a round is due, because an age for `age: auto` is another."""
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        if self._forecaster is None:
            # Several modules, for those who need it.
            from damos_agent.agent.forecaster import Forecaster

            self._forecaster = Forecaster(dict(self.warden.held.ages))
        slots = {name: standing.slot for name, standing in self.standings.items()}
        changed, asks = False, False
        for ward in self._forecaster.due(list(self._served.values()), now_us):
            name = ward.policy.name
            if self.seating.is_userspace(name):
                asks = True
                continue
            counters = partial(self._tuning.counters, name, slots[name], now_us)
            acts = self._acts(name)
            changed |= self._forecaster.look(ward, self.regions, counters, acts, now_us)
        if asks and self.seating.link:
            self.seating.link.ask(now_us, snapshots=True)  # see `hear_monitor`
        self.warden.found_out(self._forecaster.ages)
        return changed

    def _acts(self, name: str) -> bool:
        """Whether a policy's schemes change memory now."""
        hold = self.warden.of(name)
        return self.policies[name].mode is Mode.ENFORCE and not hold.why

    def _foresee(self, context: ContextReport, now_us: int) -> bool:
        ward = self._served.get(context.policy)
        if self._forecaster is None or ward is None or context.snapshot is None:
            return False
        if ward not in self._forecaster.due(list(self._served.values()), now_us):
            return False
        changed = self._forecaster.take(
            ward, context.snapshot, context.schemes, self._acts(context.policy), now_us
        )
        self.warden.found_out(self._forecaster.ages)
        return changed

    def regions(self, name: str) -> Snapshot:
        """A policy's regions now, whoever monitors. Raises `DamosError`."""
        self._require_known(name or "(none)")
        ward = self._served.get(name)
        if ward is None:
            reason = self.standings[name].reason if name in self.standings else "it is new"
            raise HostError(f"policy {name} does not run: {reason}")
        if self.seating.is_userspace(name):
            found = self.seating.snapshot(name)
            if found is None:
                raise HostError("the monitor process does not answer", hint="ask again")
            return found
        slot = self.standings[name].slot
        record = self.reconciler.ledger.slots.get(slot)
        if record is None:
            raise HostError(f"policy {name} has no kdamond just now", hint="ask again")
        machine, sysfs = self.machine, self.machine.roots.sysfs
        physical = isinstance(ward.policy.target, PhysicalTarget)
        count = len(ward.policy.schemes)
        placed = () if physical else record.placements
        return read_regions(machine.fs, sysfs, slot, count, placed, machine.features, machine.sleep)

    def pause(self, name: str) -> None:
        """Stop what a policy does, or all of them (empty name). Raises `HostError`."""
        self._require_known(name)
        self.warden.pause(name)

    def resume(self, name: str) -> None:
        """Let it go on, whatever held it. Raises `HostError`."""
        self._require_known(name)
        self.warden.resume(name)

    def feed(self, name: str, text: str) -> None:
        """A number from outside, for goals and guards that name it. Raises `HostError`."""
        used = {one.source.feed for p in self.policies.values() for one in p.guard.external}
        quotas = [s.quota for p in self.policies.values() for s in p.schemes if s.quota]
        used |= {goal.source.feed for quota in quotas for goal in quota.goals if goal.source}
        if not name or name not in used:
            known = ", ".join(sorted(used - {""})) or "none"
            raise HostError(
                f"no policy asks for the number {name!r}", hint=f"policies ask for: {known}"
            )
        number = parse_number(text)
        if number is None:
            raise HostError(f"{text!r} is no whole number", hint="feed a number like 1500")
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        self.outside.feed(name, number, now_us)

    def _require_known(self, name: str) -> None:
        if name and name not in self.policies:
            known = ", ".join(self.policies) or "none"
            raise HostError(f"there is no policy {name}", hint=f"there are: {known}")

    def _find_overlaps(self, done: Round) -> None:
        """Policies that meet are told once, however their processes come and go."""
        acting = {
            name
            for name, policy in self.policies.items()
            if acts(policy) and done.standings[name].state is PolicyState.ACTIVE
        }
        self.shared = find_shared({n: done.survey.selections[n].processes for n in acting})
        self._told_shared = {names for names in self._told_shared if acting.issuperset(names)}
        for names, processes in self.shared.items():
            if names in self._told_shared:
                continue
            self._told_shared.add(names)
            emit(
                self.logger,
                Event.POLICIES_OVERLAP,
                policies=list(names),
                pids=[process.pid for process in processes[:_PIDS_TOLD]],
                processes=len(processes),
                hint="put the schemes into one policy, or narrow one target",
            )

    def _take_standings(self, standings: dict[str, Standing]) -> None:
        standings = {name: self._held(name, standing) for name, standing in standings.items()}
        self._log_states(standings)
        self.standings = standings
        self.outcomes = {n: o for n, o in self.outcomes.items() if n in standings}

    def _held(self, name: str, standing: Standing) -> Standing:
        hold = self.warden.of(name)
        if standing.state is not PolicyState.ACTIVE or not is_stopped(self.policies[name], hold):
            return standing
        return replace(standing, state=PolicyState.PAUSED, reason=hold.why)

    def _log_states(self, standings: dict[str, Standing]) -> None:
        for name, now in standings.items():
            was = self.standings.get(name)
            if was is not None and (was.state, was.reason) == (now.state, now.reason):
                continue
            emit(
                self.logger,
                Event.POLICY_STATE_CHANGED,
                policy=name,
                state=now.state.value,
                was=was.state.value if was else "",
                reason=now.reason,
            )
            if now.state is PolicyState.UNSUPPORTED:
                emit(self.logger, Event.POLICY_UNSUPPORTED, policy=name, reason=now.reason)

    def followed(self) -> tuple[Placement, ...]:
        """Processes whose end should wake the loop."""
        placements = [p for r in self.reconciler.ledger.slots.values() for p in r.placements]
        placements += [p for found in self.seating.processes.values() for p in found]
        return tuple(dict.fromkeys(p for p in placements if p.pid != PLACEHOLDER_PID))

    def must_follow(self) -> bool:
        """Whether any policy's processes can come into being while we look away."""
        targets = [entry.policy.target for entry in self.loaded.policies]
        return any(not isinstance(target, (PidTarget, PhysicalTarget)) for target in targets)

    def targets_moved(self) -> bool:
        """Whether processes of any policy came or went since the last round."""
        try:
            selections = select(self.policies, self.machine)
        except HostError:
            return False
        followed = {r.policy: r.placements for r in self.reconciler.ledger.slots.values()}
        followed |= self.seating.processes
        own = self.seating.link.pid if self.seating.link else None
        for name, found in selections.items():
            placed = {p for p in followed.get(name, ()) if p.pid != PLACEHOLDER_PID}
            now = {p for p in found.processes if p.pid != own}
            standing = self.standings.get(name)
            waiting = standing is not None and standing.state is PolicyState.WAITING
            if (name in followed or waiting) and now != placed:
                return True
        return False

    def tell_outcomes(self) -> bool:
        """One outcome per running scheme. True when a round is due: a kdamond ended, or the
        kernel tuned its intervals, so that ages must be counted anew."""
        if self._reader is None:
            self._reader = OutcomeReader(self.machine)
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        self._reader.begin_round(now_us)
        self._reader.keep(frozenset(self.standings))
        link = self.seating.link
        self._recorder.books.begin_round(len(self._served), link.pid if link else None)
        again = False
        for name, policy in self.policies.items():
            standing = self.standings.get(name)
            record = self.reconciler.ledger.slots.get(standing.slot) if standing else None
            if standing is None or record is None or standing.state not in _RUNNING:
                continue
            targets = len(record.placements) or 1
            before = self.outcomes.get(name)
            try:
                outcome = self._reader.read(
                    policy, standing.slot, record.kdamond_pid, targets, now_us
                )
            except KernelError:
                again = True
                continue
            self.outcomes[name] = outcome
            tuned = policy.monitoring.intervals_goal is not None
            again |= tuned and (before is None or before.aggr_us != outcome.aggr_us)
            self._log_outcome(policy, outcome, targets, now_us)
        if self.seating.link and self.seating.processes:
            self._outcome_asked = self.seating.link.ask(now_us)
            again |= bool(self.seating.link.failure)  # it turned out to have ended
        return again

    def hear_monitor(self) -> bool:
        """The monitor process said something, or ended. True when a round is due."""
        link = self.seating.link
        if link is None:
            return False
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        if not link.receive(now_us):
            return False
        self.seating.tell_probes()
        due = self._outcome_asked is not None and link.report.number >= self._outcome_asked
        if due:
            self._outcome_asked = None
        aged = False
        for context in link.report.contexts:
            if policy := self.policies.get(context.policy):
                self._take_context(policy, context, now_us, tell=due)
                aged |= self._foresee(context, now_us)
        return bool(link.failure) or aged or self._stands_otherwise()

    def _take_context(
        self, policy: Policy, context: ContextReport, now_us: int, *, tell: bool
    ) -> None:
        if context.refused or not self.seating.is_userspace(policy.name):
            return
        first = policy.name not in self.outcomes
        if not tell and not first:
            return  # the deltas are of the outcome interval
        if self._reader is None:
            self._reader = OutcomeReader(self.machine)
        pid = self.seating.link.pid if self.seating.link else None
        outcome = self._reader.take(policy, context, pid or 0, now_us)
        self.outcomes[policy.name] = outcome
        if tell:
            self._log_outcome(policy, outcome, context.targets, now_us)

    def _stands_otherwise(self) -> bool:
        """Whether what the monitor said changes where a policy stands."""
        for name in self.seating.processes:
            said = self.seating.context(name)
            now = self.standings.get(name)
            if said is None or now is None:
                continue
            stands = now.state in _RUNNING
            if stands == bool(said.refused):
                return True
        return False

    def _log_outcome(
        self, policy: Policy, outcome: PolicyOutcome, targets: int, now_us: int
    ) -> None:
        for scheme in self._tuning.tuned(policy, outcome.schemes):
            fields = encode(scheme)
            del fields["kind"]
            for goal in fields["goals"]:
                del goal["kind"]
            emit(
                self.logger,
                Event.SCHEME_OUTCOME,
                policy=policy.name,
                mode=policy.mode.value,
                backend="userspace" if outcome.probe else "kernel",
                probe=outcome.probe or None,
                interval_us=outcome.interval_us,
                targets=targets,
                regions=outcome.regions,
                **fields,
            )
        if ward := self._served.get(policy.name):
            state = self.standings[policy.name].state
            self._recorder.keep(ward, outcome, state, self.settings, now_us)

    def status(self) -> AgentStatus:
        """Everything there is to say, as of now."""
        features = self.machine.features
        link = self.seating.link
        writes, failures = self.writes()
        return AgentStatus(
            version=damos_agent.__version__,
            pid=os.getpid(),
            started=self.totals.started,
            now=self.wall(),
            kernel=features.release,
            backend=self._backends(),
            backend_reason=features.detail or self.reconciler.foreign_reason,
            policies=tuple(self._policy(name, policy) for name, policy in self.policies.items()),
            rejected=tuple(map(str, self.loaded.refused)),
            rejected_files=self.loaded.refused_files,
            last_reload=self.totals.last_reload,
            last_reload_ok=self.totals.last_reload_ok,
            compile_error=self.totals.compile_error,
            reloads=self.totals.reloads,
            reload_failures=self.totals.reload_failures,
            sysfs_writes=writes,
            sysfs_write_failures=failures,
            drift=dict(self.reconciler.drift_counts),
            foreign_kdamonds=self.reconciler.foreign_kdamonds,
            pool=self.reconciler.ledger.pool,
            probes=link.report.rungs if link else (),
            monitor_pid=link.pid if link else None,
        )

    def _backends(self) -> str:
        """Those in use; the one that would be used while there is no policy."""
        used = {one.backend.value for one in self.seating.seats.values()} - {"none"}
        if used:
            return "+".join(sorted(used))
        usable = Feature.COMMIT in self.machine.features and not self.reconciler.foreign_reason
        return "kernel" if usable else "userspace" if self.seating.link else "none"

    def _policy(self, name: str, policy: Policy) -> PolicyStatus:
        entry = next(e for e in self.loaded.policies if e.policy.name == name)
        standing = self.standings.get(name, Standing(PolicyState.WAITING, "not looked at yet"))
        seat = self.seating.seats.get(name)
        outcome = self.outcomes.get(name)
        failed = standing.state is PolicyState.FAILED
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        common = PolicyStatus(
            name=name,
            state=standing.state,
            mode=policy.mode.value,
            backend="none",
            path=entry.path,
            digest=entry.digest,
            reason=standing.reason,
            target=describe(policy.target),
            regions=outcome.regions if outcome else None,
            sample_us=outcome.sample_us if outcome else policy.monitoring.sample_us,
            aggr_us=outcome.aggr_us if outcome else policy.monitoring.aggr_us,
            schemes=self._tuning.tuned(policy, outcome.schemes) if outcome else (),
            stale_since=entry.stale_since,
            last_error=standing.reason if failed else "",
            bad_file=tuple(str(f) for f in entry.findings) if entry.stale_since else (),
            backend_reason=seat.reason if seat else "",
            notes=notes_of(name, self.shared),
            age_s=round((now_us - outcome.at_us) / 1e6, 1) if outcome else None,
            guard=self._guard(policy, standing, now_us),
            worth=self._recorder.worths.get(name),
            forecast=self._forecaster.forecast(policy) if self._forecaster else None,
        )
        if self.seating.is_userspace(name):
            return self._in_userspace(common, now_us)
        return self._in_kernel(common, policy, standing.slot)

    def _guard(self, policy: Policy, standing: Standing, now_us: int) -> GuardStatus | None:
        if not pages_out(policy) or standing.state not in _ENFORCED:
            return None
        state = self.warden.guard_of(policy.name)
        waits_us = state.until_us - now_us if state.stage is Stage.TRIPPED else 0
        return GuardStatus(
            stage=state.stage.value,
            share_bp=state.share_bp,
            signal=state.signal,
            why=state.why,
            until_s=max(waits_us, 0) / 1e6 if waits_us > 0 else None,
            trips=state.trips,
            levels={one.name: one.level_bp for one in self.warden.signals_of(policy.name)},
        )

    def _in_kernel(self, common: PolicyStatus, policy: Policy, slot: int) -> PolicyStatus:
        record = self.reconciler.ledger.slots.get(slot)
        if record is None:
            return replace(common, slot=slot)
        placed = [p for p in record.placements if p.pid != PLACEHOLDER_PID]
        physical = ops_of(policy.target) is Ops.PADDR
        return replace(
            common,
            backend="kernel",
            slot=slot,
            kdamond_pid=record.kdamond_pid,
            targets=1 if physical else len(placed),
        )

    def _in_userspace(self, common: PolicyStatus, now_us: int) -> PolicyStatus:
        silent_us = self.seating.link.silent_us(now_us) if self.seating.link else 0
        late = (_SILENT.format(silent_us // 1_000_000),) if silent_us >= _SILENT_US else ()
        said = self.seating.context(common.name)
        fallback = self.seating.fallbacks.get(common.name)
        if said is None or said.refused:
            return replace(common, backend="userspace", fallback=fallback)
        return replace(
            common,
            backend="userspace",
            fallback=fallback,
            targets=said.targets,
            probe=said.probe,
            granularity=said.granularity,
            stretched=said.stretched,
            stretch_reason=said.stretch_reason,
            cpu_bp=said.cpu_bp,
            notes=(*common.notes, *late, *said.notes),
            canaries=said.canaries,
            ages=said.ages,
            ages_check=said.ages_check,
        )
