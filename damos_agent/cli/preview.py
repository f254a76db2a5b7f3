"""What the agent would write: on this machine, or on a kernel known by its release only.

Nothing here writes. On the machine it is the very plan the agent would carry out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from damos_agent.agent.survey import NOT_ASKED_FOR, survey
from damos_agent.algo.goals import lift
from damos_agent.algo.lower import ops_of
from damos_agent.algo.overlay import FREE, is_stopped, overlay
from damos_agent.cli.machine import is_copy, read_holds, read_ledger, read_machine
from damos_agent.cli.session import Session
from damos_agent.host.system import read_uptime_us
from damos_agent.kernel.features import profile_of
from damos_agent.kernel.planner import Desired, Situation, plan
from damos_agent.kernel.wish import Knowledge, desire
from damos_agent.model.damon import (
    PLACEHOLDER_PID,
    Ledger,
    ObservedKernel,
    ObservedSlot,
    Placement,
    Plan,
    SlotPlan,
    Tree,
)
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.feature import Features, Ops
from damos_agent.model.policy import (
    AddressRange,
    BackendChoice,
    PhysicalTarget,
    PidTarget,
    Policy,
)
from damos_agent.model.settings import Settings
from damos_agent.userspace.capable import check_policy

STAND_IN = -1
"""Start and pid of what only a machine can tell; no process and no address is negative."""
STAND_IN_RANGE = AddressRange(STAND_IN, STAND_IN - 1)
_BOOT = "preview"


@dataclass(frozen=True, slots=True)
class Later:
    """A second round, `after_us` after the first: quotas have then seen their first window."""

    work: SlotPlan
    after_us: int


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan with its circumstances; `later`, `unsupported` and `waiting` by policy name.

    `userspace`: policies that the agent's own monitor serves instead, and why the kernel does not.
    `held`: what is stopped by a pause or a guard, and why.
    `stand_ins`: pids and addresses are not those of any machine. `copied`: sysfs is a copy.
    """

    features: Features
    plan: Plan
    policies: tuple[str, ...]
    stand_ins: bool = False
    copied: bool = False
    later: dict[str, Later] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    userspace: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)

    @property
    def in_sync(self) -> tuple[str, ...]:
        """Policies for which nothing has to be written."""
        busy = {work.policy for work in self.plan.slots} | self.unsupported.keys()
        busy |= self.waiting.keys() | self.userspace.keys()
        return tuple(name for name in self.policies if name not in busy)

    @property
    def writes(self) -> int:
        """write(2) calls on sysfs, those of the second rounds included."""
        return self.plan.writes + Plan(tuple(item.work for item in self.later.values())).writes


def preview_live(
    session: Session,
    policies: Mapping[str, Policy],
    settings: Settings,
    hold: frozenset[str] = frozenset(),
    kernel: str | None = None,
) -> Preview:
    """The plan for this machine now, or for a copy of one. Raises as `survey`, and `NoDamonError`.

    `kernel` is the release of the copy, which need not tell it itself.

    Slots of the policies in `hold` stay: their files are bad, so their last good versions run on.
    """
    machine = read_machine(session, kernel)
    holds = read_holds(session, policies, settings, machine.features)
    stopped = {n: one.why for n, one in holds.items() if is_stopped(policies[n], one)}
    policies = {
        name: overlay(lift(policy, machine.features), holds.get(name, FREE))
        for name, policy in policies.items()
    }
    view = survey(policies, machine, read_ledger(session), settings, hold)
    made = plan(view.desired, view.situation)
    now_us = read_uptime_us(session.fs, session.roots)
    userspace, unsupported = fall_back(policies, view.unsupported | made.unsupported)
    absent = {
        name: view.selections[name].reason
        for name in userspace
        if not view.selections[name].processes
    }
    return Preview(
        features=machine.features,
        plan=made,
        policies=tuple(policies),
        copied=is_copy(session),
        later=_later(made, view.desired, policies, machine.features, now_us),
        unsupported=unsupported,
        waiting=view.waiting | absent,
        userspace={name: why for name, why in userspace.items() if name not in absent},
        held=stopped,
    )


def fall_back(
    policies: Mapping[str, Policy], unsupported: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Of the policies the kernel cannot serve, those that user space can, and the rest."""
    served: dict[str, str] = {}
    rest: dict[str, str] = {}
    for name, reason in unsupported.items():
        missing = userspace_lacks(policies[name])
        if not missing:
            served[name] = reason
        elif policies[name].backend is BackendChoice.AUTO:
            rest[name] = f"kernel: {reason}; user space: {missing}"
        else:
            rest[name] = missing if policies[name].backend is BackendChoice.USERSPACE else reason
    return served, rest


def userspace_lacks(policy: Policy) -> str:
    """Why the agent's own monitor cannot serve a policy; empty: it can."""
    if policy.backend is BackendChoice.KERNEL:
        return "the policy asks for backend kernel"
    try:
        check_policy(policy)
    except UnsupportedError as error:
        return str(error)
    return ""


def preview_profile(kernel: str, policies: Mapping[str, Policy], settings: Settings) -> Preview:
    """The plan for a fresh machine with mainline kernel `kernel`, such as `6.12`."""
    features = profile_of(kernel)
    policies = {name: overlay(lift(one, features), FREE) for name, one in policies.items()}
    desired: dict[str, Desired] = {}
    unsupported: dict[str, str] = {}
    for name, policy in policies.items():
        try:
            desired[name] = desire(policy, stand_in(policy, features))
        except UnsupportedError as error:
            unsupported[name] = str(error)
    forced = [n for n, policy in policies.items() if policy.backend is BackendChoice.USERSPACE]
    for name in forced:
        desired.pop(name, None)
        unsupported[name] = NOT_ASKED_FOR
    ledger = Ledger(boot_id=_BOOT)
    situation = Situation(ObservedKernel(()), ledger, _BOOT, features, settings.slots)
    made = plan(desired, situation)
    later = _later(made, desired, policies, features, now_us=0)
    userspace, unsupported = fall_back(policies, unsupported | made.unsupported)
    return Preview(
        features,
        made,
        tuple(policies),
        stand_ins=True,
        later=later,
        unsupported=unsupported,
        userspace=userspace,
    )


def stand_in(policy: Policy, features: Features) -> Knowledge:
    """One process, or one range of memory, in place of what a machine would show."""
    target = policy.target
    alive: tuple[Placement, ...] = ()
    physical: tuple[AddressRange, ...] = ()
    if isinstance(target, PhysicalTarget):
        physical = target.ranges or (STAND_IN_RANGE,)
    elif isinstance(target, PidTarget):
        alive = tuple(Placement(pid, 1) for pid in target.pids)
    else:
        alive = (Placement(STAND_IN, 1),)
    return Knowledge(features, 0, _no_ranges, alive=alive, physical=physical)


def _no_ranges(_pid: int) -> tuple[AddressRange, ...]:
    return ()


def _later(
    made: Plan,
    desired: Mapping[str, Desired],
    policies: Mapping[str, Policy],
    features: Features,
    now_us: int,
) -> dict[str, Later]:
    found = {}
    for work in made.slots:
        if work.record is None or not work.record.prime_at_us or work.policy not in desired:
            continue
        second = _second_round(work, desired[work.policy], policies[work.policy], features)
        if second is not None:
            found[work.policy] = Later(second, max(work.record.prime_at_us - now_us, 0))
    return found


def _second_round(
    work: SlotPlan, wish: Desired, policy: Policy, features: Features
) -> SlotPlan | None:
    """What is written once the first charge window is over, if all goes as planned."""
    record = work.record
    if record is None:
        return None
    slot = ObservedSlot(running=True, pid=record.kdamond_pid, tree=wish.tree)
    known = Knowledge(
        features,
        record.prime_at_us,
        _no_ranges,
        alive=tuple(p for p in wish.placements if p.pid != PLACEHOLDER_PID),
        physical=_ranges_in(wish.tree) if ops_of(policy.target) is Ops.PADDR else (),
        record=record,
        slot=slot,
    )
    idle = ObservedSlot(running=False, pid=-1, tree={"contexts/nr_contexts": "0"})
    situation = Situation(
        observed=ObservedKernel((*[idle] * work.slot, slot)),
        ledger=Ledger(_BOOT, work.slot + 1, {work.slot: record}),
        boot_id=_BOOT,
        features=features,
        pool=work.slot + 1,
    )
    slots = plan({policy.name: desire(policy, known)}, situation).slots
    return slots[0] if slots else None


def _ranges_in(tree: Tree) -> tuple[AddressRange, ...]:
    base = "contexts/0/targets/0/regions"
    count = int(tree.get(f"{base}/nr_regions", "0"))
    return tuple(
        AddressRange(int(tree[f"{base}/{index}/start"]), int(tree[f"{base}/{index}/end"]))
        for index in range(count)
    )
