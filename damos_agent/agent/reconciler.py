"""Keeps the kernel matching the policies: survey, drift, plan, apply, and a state for each policy.

All effects on DAMON happen in here, on one thread: DAMON has one lock that is only ever tried.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from damos_agent.agent.events import Event, Logger, emit
from damos_agent.agent.survey import Machine, Survey, survey
from damos_agent.algo.backoff import Backoff
from damos_agent.host.system import read_boot_id, read_uptime_us
from damos_agent.kernel.apply import Applier
from damos_agent.kernel.drift import Drift, find_drift
from damos_agent.kernel.ownership import Ownership, judge
from damos_agent.kernel.planner import left_out, plan
from damos_agent.model.damon import (
    PLACEHOLDER_PID,
    Change,
    Command,
    Ledger,
    Placement,
    Plan,
    SlotPlan,
    SwitchModule,
    tree_digest,
)
from damos_agent.model.errors import HostError, KernelError
from damos_agent.model.policy import Mode, PhysicalTarget, Policy
from damos_agent.model.settings import DriftAction, Settings
from damos_agent.model.status import PolicyState

_TRIES = 4
_FAILURES_TO_LEAVE = 3
"""So often in a row must the kernel refuse a policy before it counts as lost to it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one policy stands after a round."""

    state: PolicyState
    reason: str = ""
    slot: int = -1


@dataclass(frozen=True, slots=True)
class Round:
    """What a round found and did. `plan` is the first one made; a dry run did nothing of it.

    `kernel` tells of every policy that has processes why the kernel cannot serve it; empty: it
    can.
    """

    standings: dict[str, Standing]
    survey: Survey
    plan: Plan
    retry_us: int | None = None
    kernel: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Memory:
    """What the reconciler remembers from round to round besides the ledger."""

    backoff: dict[str, Backoff] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    drifted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    foreign: tuple[int, str] = (0, "")
    edited: set[str] = field(default_factory=set)
    announced: Plan = field(default_factory=Plan)


class Reconciler:
    """One per agent. `ledger` is what it owns, `drift_counts` how often each policy drifted."""

    def __init__(
        self,
        machine: Machine,
        applier: Applier,
        ledger: Ledger,
        logger: Logger,
        *,
        dry_run: bool = False,
    ) -> None:
        self.machine = machine
        self.ledger = ledger
        self.drift_counts: dict[str, int] = {}
        self.foreign_kdamonds = 0
        self._applier = replace(applier, save=self._keep)
        self._save = applier.save
        self._logger = logger
        self._dry_run = dry_run
        self._memory = _Memory()

    @property
    def foreign_reason(self) -> str:
        """Why DAMON's kdamonds are not ours to use; empty when they are."""
        return self._memory.foreign[1]

    @property
    def priming(self) -> dict[str, int]:
        """Policies whose quotas are primed, and when their first windows will be over."""
        records = self.ledger.slots.values()
        return {r.policy: r.prime_at_us for r in records if r.prime_at_us}

    def _keep(self, ledger: Ledger) -> None:
        """In memory first: what cannot be saved is owned all the same."""
        self.ledger = ledger
        self._save(ledger)

    def adopt(self) -> None:
        """After a start: keep of the ledger what this boot's kernel still shows to be ours."""
        boot_id = read_boot_id(self.machine.fs, self.machine.roots)
        if self.ledger.boot_id != boot_id:
            self.ledger = Ledger(boot_id=boot_id)
            return
        found = survey({}, self.machine, self.ledger, Settings())
        ownership = judge(found.situation.observed, self.ledger, boot_id)
        slots = found.situation.observed.slots
        if not slots or self.ledger.pool != len(slots):
            suspended = self.ledger.suspended_damon_stat
            self.ledger = Ledger(boot_id=boot_id, suspended_damon_stat=suspended)
            return
        kept = {}
        for index, record in self.ledger.slots.items():
            if index in ownership.foreign or index >= len(slots):
                continue
            kept[index] = replace(record, kdamond_pid=slots[index].pid)
            if slots[index].running and not self._dry_run:
                emit(
                    self._logger,
                    Event.KDAMOND_ADOPTED,
                    policy=record.policy,
                    slot=index,
                    kdamond_pid=slots[index].pid,
                )
        self.ledger = replace(self.ledger, slots=kept)

    def reconcile(
        self,
        policies: Mapping[str, Policy],
        settings: Settings,
        parked: frozenset[str] = frozenset(),
    ) -> Round:
        """One round. Raises `HostError` or `KernelError` only when nothing could be looked at.

        `parked` policies are served elsewhere: the kernel gets nothing of them, and is only asked
        whether it could serve them.
        """
        self._forget(policies)
        now_us = read_uptime_us(self.machine.fs, self.machine.roots)
        first: Plan | None = None
        for _ in range(_TRIES):
            hold = self._waiting_to_retry(now_us) | frozenset(self._memory.drifted)
            view = survey(policies, self.machine, self.ledger, settings, hold)
            self._note_threads(view)
            self._let_go(view)
            view = replace(view, situation=replace(view.situation, ledger=self.ledger))
            if self._judge_drift(view, settings):
                hold |= frozenset(self._memory.drifted)
                view = replace(view, situation=replace(view.situation, hold=hold))
            wishes = {n: w for n, w in view.desired.items() if n not in parked}
            made = plan(wishes, view.situation)
            first = first or made
            self._note_foreign(view)
            if self._dry_run:
                self._announce_once(made)
                break
            if made.empty:
                break
            self._announce(made)
            if not self._carry_out(made, view, now_us):
                break
        self._memory.edited &= set(self._memory.backoff)
        standings = self._standings(policies, view, made)
        kernel = self._verdicts(policies, view)
        return Round(standings, view, first or made, self._next_retry(), kernel)

    def release(self, settings: Settings) -> int:
        """Stop and remove everything that is ours; how many kdamonds that were.

        What cannot be stopped does not keep the rest running; the first error is raised at the end.
        A dry run stops nothing.
        """
        if self._dry_run:
            return 0
        view = survey({}, self.machine, self.ledger, settings)
        made = plan({}, view.situation)
        count = sum(Command(work.slot, "off") in work.steps for work in made.slots)
        errors: list[HostError | KernelError] = []
        for work in made.slots:
            try:
                self._apply(work)
            except (HostError, KernelError) as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return count

    def _carry_out(self, made: Plan, view: Survey, now_us: int) -> bool:
        """True when a target exited meanwhile and the round should be made again at once."""
        again = False
        for work in made.slots:
            try:
                self._apply(work)
            except KernelError as error:
                if error.errno == errno.ESRCH:
                    again = True
                    continue
                self._failed(work, view, error, now_us)
                if work.slot < 0:
                    return False
            else:
                self._memory.backoff.pop(work.policy, None)
                self._memory.errors.pop(work.policy, None)
        return again

    def _apply(self, work: SlotPlan) -> None:
        before = self.ledger.slots.get(work.slot)
        self._applier.apply(work, self.ledger)
        after = self.ledger.slots.get(work.slot)
        writes = Plan((work,)).writes
        pid = after.kdamond_pid if after else -1
        common: dict[str, object] = {"policy": work.policy, "slot": work.slot}
        match work.change:
            case Change.POOL:
                self._log_pool(work)
            case Change.START:
                emit(self._logger, Event.SLOT_STARTED, **common, kdamond_pid=pid, writes=writes)
            case Change.RESTART:
                emit(
                    self._logger,
                    Event.SLOT_RESTARTED,
                    **common,
                    kdamond_pid=pid,
                    writes=writes,
                    reason=work.reason,
                )
            case Change.STOP:
                emit(self._logger, Event.SLOT_STOPPED, **common, reason=work.reason)
            case _:
                emit(
                    self._logger,
                    Event.SLOT_COMMITTED,
                    **common,
                    change=work.change.value,
                    writes=writes,
                    reason=work.reason,
                )
        if after and before and before.placements != after.placements:
            self._log_targets(work.policy, before.placements, after.placements)

    def _log_pool(self, work: SlotPlan) -> None:
        for step in work.steps:
            if isinstance(step, SwitchModule):
                event = Event.MODULE_RESTORED if step.on else Event.MODULE_SUSPENDED
                emit(self._logger, event, module=step.name)
        if self.ledger.pool:
            emit(self._logger, Event.POOL_CREATED, slots=self.ledger.pool)

    def _log_targets(
        self, policy: str, before: tuple[Placement, ...], after: tuple[Placement, ...]
    ) -> None:
        old = {p.pid for p in before if p.pid != PLACEHOLDER_PID}
        new = {p.pid for p in after if p.pid != PLACEHOLDER_PID}
        emit(
            self._logger,
            Event.TARGETS_CHANGED,
            policy=policy,
            added=sorted(new - old),
            removed=sorted(old - new),
            targets=len(new),
        )

    def _failed(self, work: SlotPlan, view: Survey, error: KernelError, now_us: int) -> None:
        names = [work.policy] if work.slot >= 0 else list(view.desired)
        for name in names:
            self._memory.backoff[name] = self._memory.backoff.get(name, Backoff()).failed(now_us)
            self._memory.errors[name] = str(error)
        emit(
            self._logger,
            Event.SLOT_FAILED,
            policy=work.policy,
            slot=work.slot,
            message=str(error),
            hint=error.hint,
        )

    def _announce_once(self, made: Plan) -> None:
        """A dry run comes to the same plan each round."""
        if not made.empty and made != self._memory.announced:
            self._announce(made)
        self._memory.announced = made

    def _announce(self, made: Plan) -> None:
        changes = [f"{work.slot}:{work.change}:{work.policy}" for work in made.slots]
        emit(self._logger, Event.PLAN_COMPUTED, writes=made.writes, changes=changes)

    def _judge_drift(self, view: Survey, settings: Settings) -> bool:
        """Look for drift; True when a policy is newly held because of it."""
        found: dict[str, Drift] = {}
        for index, record in self.ledger.slots.items():
            if index >= len(view.situation.observed.slots) or record.policy not in view.selections:
                continue
            slot = view.situation.observed.slots[index]
            wish = view.desired.get(record.policy)
            alive = view.selections[record.policy].processes
            drift = find_drift(index, slot, record, alive, wish.tree if wish else None)
            # What failed is reported as that, and put right when it is tried again.
            known = self._memory.edited | set(self._memory.backoff)
            if drift and record.policy not in known:
                found[record.policy] = drift
        held = settings.drift is not DriftAction.REASSERT
        fresh = {n: d for n, d in found.items() if self._memory.drifted.get(n) != d.differences}
        for name, drift in fresh.items():
            self.drift_counts[name] = self.drift_counts.get(name, 0) + 1
            emit(
                self._logger,
                Event.DRIFT_DETECTED,
                policy=name,
                slot=drift.slot,
                action=settings.drift.value,
                differences=list(drift.differences),
            )
        kept = (
            found
            if settings.drift is not DriftAction.YIELD
            else found
            | {name: Drift(name, -1, lines) for name, lines in self._memory.drifted.items()}
        )
        self._memory.drifted = {n: d.differences for n, d in kept.items()} if held else {}
        return bool(fresh) and held

    def _note_threads(self, view: Survey) -> None:
        """A kdamond of ours that somebody turned off and on again has another thread now."""
        slots = view.situation.observed.slots
        for index, record in self.ledger.slots.items():
            slot = slots[index] if index < len(slots) else None
            if slot is None or not slot.running or slot.pid == record.kdamond_pid:
                continue
            if tree_digest(slot.tree) != record.digest:
                continue
            kept = {**self.ledger.slots, index: replace(record, kdamond_pid=slot.pid)}
            self.ledger = replace(self.ledger, slots=kept)
            emit(
                self._logger,
                Event.KDAMOND_ADOPTED,
                policy=record.policy,
                slot=index,
                kdamond_pid=slot.pid,
            )

    def _let_go(self, view: Survey) -> None:
        """Of slots in which somebody else now runs what is theirs: turned off, rewritten, on."""
        situation = view.situation
        foreign = judge(situation.observed, self.ledger, situation.boot_id).foreign
        lost = foreign & self.ledger.slots.keys()
        if lost:
            kept = {n: record for n, record in self.ledger.slots.items() if n not in lost}
            self.ledger = replace(self.ledger, slots=kept)

    def _note_foreign(self, view: Survey) -> None:
        situation = view.situation
        ownership = judge(situation.observed, self.ledger, situation.boot_id)
        self.foreign_kdamonds = len(ownership.foreign)
        known = (len(ownership.foreign), ownership.reason)
        if known == self._memory.foreign:
            return
        self._memory.foreign = known
        if ownership.foreign:
            self._log_foreign(view, ownership)
            if self.ledger.pool != len(situation.observed.slots):
                self.ledger = replace(self.ledger, pool=0, slots={})

    def _log_foreign(self, view: Survey, ownership: Ownership) -> None:
        slots = view.situation.observed.slots
        running = sum(slots[index].running for index in ownership.foreign)
        emit(
            self._logger,
            Event.FOREIGN_KDAMOND_FOUND,
            slots=sorted(ownership.foreign),
            running=running,
            message=ownership.reason or "somebody else runs a kdamond in a slot of our pool",
            hint="stop the other user of DAMON if the agent should manage this machine",
        )

    def _waiting_to_retry(self, now_us: int) -> frozenset[str]:
        return frozenset(n for n, b in self._memory.backoff.items() if b.until_us > now_us)

    def _next_retry(self) -> int | None:
        times = [b.until_us for b in self._memory.backoff.values()]
        times += self.priming.values()
        return min(times, default=None)

    def _forget(self, policies: Mapping[str, Policy]) -> None:
        """A policy that is gone or was edited starts with a clean slate.

        An edit also takes back a kernel that had drifted: whoever edits wants it in force.
        """
        digests = {name: policy.origin.digest for name, policy in policies.items()}
        memory = self._memory
        memory.edited &= set(digests)
        for name in set(memory.digests) | set(memory.drifted) | set(memory.backoff):
            if digests.get(name) != memory.digests.get(name):
                memory.edited |= {name} & set(digests)
                memory.backoff.pop(name, None)
                memory.errors.pop(name, None)
                memory.drifted.pop(name, None)
        memory.digests = digests

    def _verdicts(self, policies: Mapping[str, Policy], view: Survey) -> dict[str, str]:
        """Why the kernel cannot serve each policy that has somebody to look after."""
        everything = left_out(view.desired, view.situation)
        held = {record.policy for record in self.ledger.slots.values()}
        found = {}
        for name, policy in policies.items():
            if (
                not isinstance(policy.target, PhysicalTarget)
                and not view.selections[name].processes
            ):
                continue
            reason = view.unsupported.get(name) or everything.get(name, "")
            if not reason and name not in held:
                # What runs of it is never given up; what cannot even be started is.
                failures = self._memory.backoff.get(name, Backoff()).failures
                given_up = failures >= _FAILURES_TO_LEAVE
                reason = self._memory.errors.get(name, "") if given_up else ""
            found[name] = reason
        return found

    def _standings(
        self, policies: Mapping[str, Policy], view: Survey, made: Plan
    ) -> dict[str, Standing]:
        slots = {record.policy: index for index, record in self.ledger.slots.items()}
        standings = {}
        for name, policy in policies.items():
            state, reason = self._state(name, policy, view, made)
            standings[name] = Standing(state, reason, slots.get(name, -1))
        return standings

    def _state(
        self, name: str, policy: Policy, view: Survey, made: Plan
    ) -> tuple[PolicyState, str]:
        if name in view.unsupported:
            return PolicyState.UNSUPPORTED, view.unsupported[name]
        if name in view.waiting:
            return PolicyState.WAITING, view.waiting[name]
        if name in made.unsupported:
            return PolicyState.UNSUPPORTED, made.unsupported[name]
        if name in self._memory.errors:
            return PolicyState.FAILED, self._memory.errors[name]
        if name in self._memory.drifted:
            return PolicyState.DRIFTED, "; ".join(self._memory.drifted[name])
        if policy.mode is Mode.OBSERVE:
            return PolicyState.OBSERVING, ""
        return PolicyState.ACTIVE, ""
