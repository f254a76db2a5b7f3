"""desired + observed → plan. Pure: the kernel backend's one place of decisions.

Laws, each tested:
- In sync means an empty plan.
- Every prefix of a plan is safe: nothing running changes before `on` or `commit`, and those come
  after the whole tree is staged.
- A plan interrupted anywhere, planned again from what is then observed, ends in the same tree.
- Foreign slots are never named by a step, nor is `nr_kdamonds` while any exists.

Why quotas are primed: before 6.18 the kernel sets no limit in a quota's first charge window
(mm/damon/core.c, damos_adjust_quota). There a scheme with a new quota is committed matching
nothing, and gets its pattern when that window is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from damos_agent.kernel.diff import differing, stage
from damos_agent.kernel.fields import AGGR_US, OPERATIONS, SAMPLE_US
from damos_agent.kernel.ownership import Ownership, judge
from damos_agent.model.damon import (
    PLACEHOLDER_PID,
    Change,
    Command,
    Ledger,
    ObservedKernel,
    ObservedSlot,
    Placement,
    Plan,
    RequirePids,
    SlotPlan,
    SlotRecord,
    Step,
    SwitchModule,
    Tree,
    Write,
    is_transient,
    tree_digest,
)
from damos_agent.model.feature import Feature, Features

NR_KDAMONDS = "nr_kdamonds"
DAMON_STAT = "damon_stat"
_EMPTY: Tree = {"contexts/nr_contexts": "0"}


@dataclass(frozen=True, slots=True)
class Desired:
    """One policy's wish.

    `tree`: the steady staged tree; `staging`: the same with the target regions that go with this
    commit only; `placements` who sits at which target index; `primed` and `prime_at_us` as
    they will be recorded.
    """

    policy: str
    tree: Tree
    staging: Tree
    placements: tuple[Placement, ...] = ()
    base_intervals: tuple[int, int] = (0, 0)
    primed: tuple[bool, ...] = ()
    prime_at_us: int = 0

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that must be alive when this is committed."""
        return tuple(p.pid for p in self.placements if p.pid != PLACEHOLDER_PID)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a plan is made from, besides the wishes.

    `pool` slots are made when there are none; `suspend_stat`: whether DAMON_STAT may be
    switched off. `hold` names policies whose slots must not be touched now.
    """

    observed: ObservedKernel
    ledger: Ledger
    boot_id: str
    features: Features
    pool: int
    suspend_stat: bool = False
    hold: frozenset[str] = field(default_factory=frozenset)


def plan(desired: Mapping[str, Desired], situation: Situation) -> Plan:
    """Everything to write now for `desired` (by policy name; the absent ones are undone)."""
    ownership = judge(situation.observed, situation.ledger, situation.boot_id)
    if not ownership.pool:
        return Plan(unsupported=dict.fromkeys(desired, ownership.reason))
    blocked = blocking_modules(situation)
    if blocked and desired:
        return Plan(tuple(_undo(desired, situation)), dict.fromkeys(desired, blocked))
    assigned, unserved = _assign(desired, situation, ownership)
    slots = [*_undo(desired, situation), *_modules(desired, situation)]
    slots += _pool(desired, situation)
    for index, wish in sorted(assigned.items()):
        if wish.policy not in situation.hold:
            made = _slot(index, wish, situation)
            slots += [made] if made else []
    if not desired:
        slots += _release(situation, ownership)
    return Plan(tuple(slots), unserved)


def left_out(desired: Mapping[str, Desired], situation: Situation) -> dict[str, str]:
    """Why `plan` would leave some of them out, without making the plan."""
    ownership = judge(situation.observed, situation.ledger, situation.boot_id)
    if reason := blocking_modules(situation) if ownership.pool else ownership.reason:
        return dict.fromkeys(desired, reason)
    return _assign(desired, situation, ownership)[1]


def release(situation: Situation) -> Plan:
    """Undo everything: kdamonds stopped, slots removed, DAMON_STAT as it was."""
    return plan({}, replace(situation, hold=frozenset()))


def blocking_modules(situation: Situation) -> str:
    """Why no kdamond can start beside modules that run; empty if it can."""
    running = situation.observed.exclusive
    if not running or (set(running) == {DAMON_STAT} and situation.suspend_stat):
        return ""
    names = ", ".join(name.upper() for name in running)
    hint = ""
    if set(running) == {DAMON_STAT}:
        hint = "; set `damon_stat: suspend` in agent.yaml to let the agent switch it off"
    return f"the exclusive module {names} is running, so no other kdamond can start{hint}"


def _assign(
    desired: Mapping[str, Desired], situation: Situation, ownership: Ownership
) -> tuple[dict[int, Desired], dict[str, str]]:
    count = len(situation.observed.slots) or max(situation.pool, len(desired))
    held = {
        record.policy: index
        for index, record in situation.ledger.slots.items()
        if index not in ownership.foreign
    }
    assigned = {held[name]: wish for name, wish in desired.items() if name in held}
    taken = set(assigned) | ownership.foreign
    free = iter([index for index in range(count) if index not in taken])
    unserved = {}
    for name, wish in sorted(desired.items()):
        if name in held:
            continue
        index = next(free, None)
        if index is None:
            unserved[name] = (
                f"all {count} kdamond slots are in use; raise `slots` in agent.yaml and "
                "restart the agent (slots cannot be added while a kdamond runs)"
            )
        else:
            assigned[index] = wish
    return assigned, unserved


def _undo(desired: Mapping[str, Desired], situation: Situation) -> Iterator[SlotPlan]:
    foreign = judge(situation.observed, situation.ledger, situation.boot_id).foreign
    for index, record in sorted(situation.ledger.slots.items()):
        gone = record.policy not in desired and record.policy not in situation.hold
        if not gone or index in foreign or index >= len(situation.observed.slots):
            continue
        slot = situation.observed.slots[index]
        steps: list[Step] = [Command(index, "off")] if slot.running else []
        if slot.tree.get("contexts/nr_contexts", "0") != "0":
            steps.append(Write(f"{index}/contexts/nr_contexts", "0", "1"))
        yield SlotPlan(index, record.policy, Change.STOP, tuple(steps), reason="no longer wanted")


def _modules(desired: Mapping[str, Desired], situation: Situation) -> Iterator[SlotPlan]:
    if desired and DAMON_STAT in situation.observed.exclusive:
        step = SwitchModule(DAMON_STAT, on=False)
        yield SlotPlan(-1, "", Change.POOL, (step,), reason="DAMON_STAT excludes other kdamonds")


def _pool(desired: Mapping[str, Desired], situation: Situation) -> Iterator[SlotPlan]:
    if desired and not situation.observed.slots:
        step = Write(NR_KDAMONDS, str(max(situation.pool, len(desired))), "0")
        yield SlotPlan(-1, "", Change.POOL, (step,), reason="no slots yet")


def _release(situation: Situation, ownership: Ownership) -> Iterator[SlotPlan]:
    steps: list[Step] = []
    if situation.observed.slots and not ownership.foreign and not situation.hold:
        steps.append(Write(NR_KDAMONDS, "0", str(len(situation.observed.slots))))
    if situation.ledger.suspended_damon_stat and not ownership.foreign:
        steps.append(SwitchModule(DAMON_STAT, on=True))
    if steps:
        yield SlotPlan(-1, "", Change.POOL, tuple(steps), reason="no policy needs DAMON")


def _slot(index: int, wish: Desired, situation: Situation) -> SlotPlan | None:
    slots = situation.observed.slots
    slot = slots[index] if index < len(slots) else ObservedSlot(False, -1, dict(_EMPTY))
    record = situation.ledger.slots.get(index)
    if record is None or record.policy != wish.policy:
        record = SlotRecord(wish.policy)
    if not slot.running:
        return _start(index, wish, slot, Change.START)
    if slot.tree.get(OPERATIONS) != wish.tree[OPERATIONS]:
        return _start(index, wish, slot, Change.RESTART)
    return _commit(index, wish, slot, record, situation.features)


def _record(wish: Desired, tree: Tree, pid: int = -1) -> SlotRecord:
    return SlotRecord(
        policy=wish.policy,
        digest=tree_digest(tree),
        kdamond_pid=pid,
        placements=wish.placements,
        base_intervals=wish.base_intervals,
        primed=wish.primed,
        prime_at_us=wish.prime_at_us,
    )


def _start(index: int, wish: Desired, slot: ObservedSlot, change: Change) -> SlotPlan:
    """A fresh context finds its own initial regions, so nothing transient is staged."""
    steps: list[Step] = [Command(index, "off")] if slot.running else []
    steps += stage(slot.tree, wish.tree, f"{index}/")
    if wish.pids:
        steps.append(RequirePids(wish.pids))
    steps.append(Command(index, "on"))
    reason = "not running" if change is Change.START else "the operation set differs"
    record = _record(wish, wish.tree)
    restore = slot.tree if change is Change.RESTART else None
    return SlotPlan(index, wish.policy, change, tuple(steps), record, restore, reason)


def _commit(
    index: int, wish: Desired, slot: ObservedSlot, record: SlotRecord, features: Features
) -> SlotPlan | None:
    tuned = _keeps_tuning(wish, record)
    tree = _with_intervals(wish.tree, slot.tree) if tuned else wish.tree
    staging = _with_intervals(wish.staging, slot.tree) if tuned else wish.staging
    digest = tree_digest(tree)
    prefix = f"{index}/"
    changed = differing(slot.tree, tree)
    committed = record.digest == digest and record.placements == wish.placements
    if committed and all(is_transient(tree, path) for path in changed):
        tidy = stage(slot.tree, tree, prefix)
        kept = replace(record, primed=wish.primed, prime_at_us=wish.prime_at_us)
        if not tidy:
            return None
        reason = "staged regions are left over"
        return SlotPlan(index, wish.policy, Change.TIDY, tidy, kept, reason=reason)
    writes = stage(slot.tree, staging, prefix)
    goals_only = (
        bool(changed)
        and Feature.GOALS in features
        and all(path.endswith(("/target_value", "/current_value")) for path in changed)
        and record.digest == tree_digest(slot.tree)
    )
    steps: list[Step] = []
    if tuned and not goals_only:
        steps.append(Command(index, "update_tuned_intervals"))
    steps += writes
    if not goals_only and wish.pids:
        steps.append(RequirePids(wish.pids))
    steps.append(Command(index, "commit_schemes_quota_goals" if goals_only else "commit"))
    steps += stage(staging, tree, prefix)
    return SlotPlan(
        index,
        wish.policy,
        Change.GOALS if goals_only else Change.COMMIT,
        tuple(steps),
        _record(wish, tree, slot.pid),
        restore=slot.tree,
        reason=_describe(changed) or "staged, but not committed",
    )


def _keeps_tuning(wish: Desired, record: SlotRecord) -> bool:
    aggrs = wish.tree.get(f"{SAMPLE_US.rpartition('/')[0]}/intervals_goal/aggrs", "0")
    return aggrs != "0" and record.base_intervals == wish.base_intervals


def _with_intervals(tree: Tree, observed: Tree) -> Tree:
    tuned = {path: observed[path] for path in (SAMPLE_US, AGGR_US) if path in observed}
    return tree | tuned


def _describe(changed: tuple[str, ...]) -> str:
    names = [path.removeprefix("contexts/0/") for path in changed]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
