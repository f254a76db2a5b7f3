"""From a policy and what is known of its slot to what its slot should hold. Pure but for `Ranges`.

A process that is new to a running context must bring its memory ranges: without them the kernel
would leave it unwatched until the next operations update, and with the ages of whoever sat at
its index before. The same goes for the placeholder, which brings one page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from damos_agent.algo.aim import aim
from damos_agent.algo.lower import Intervals, lower, lower_scheme, needs_priming, ops_of
from damos_agent.algo.target import place
from damos_agent.kernel.fields import AGGR_US, SAMPLE_US
from damos_agent.kernel.planner import Desired
from damos_agent.kernel.tree import render
from damos_agent.model.damon import (
    PLACEHOLDER_PID,
    ObservedSlot,
    Placement,
    SlotRecord,
    TargetSpec,
    Tree,
)
from damos_agent.model.feature import Features, Ops
from damos_agent.model.policy import AddressRange, Policy

Ranges = Callable[[int], tuple[AddressRange, ...]]

_AGE = "/access_pattern/age/"
_NEAR = 4
"""A quarter more or less is near enough."""

_NOWHERE = (AddressRange(4096, 8192),)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a wish is made from, besides the policy.

    `alive`: the target's processes; `physical`: the ranges of a physical target; `ranges(pid)`
    reads a process's three regions; `now_us` is the boot-time clock.
    """

    features: Features
    now_us: int
    ranges: Ranges
    alive: tuple[Placement, ...] = ()
    physical: tuple[AddressRange, ...] = ()
    record: SlotRecord | None = None
    slot: ObservedSlot | None = None


def desire(policy: Policy, known: Knowledge) -> Desired:
    """What the slot of `policy` should hold. Raises `UnsupportedError`."""
    record = known.record if known.slot and known.slot.running else None
    previous = record.placements if record else ()
    placements = place(previous, known.alive) if record else known.alive
    policy = aim(policy, placements)
    steady, staging = _targets(policy, placements, previous if record else None, known)
    running = _running_intervals(policy, record, known.slot)
    primed, prime_at_us = _prime(policy, record, known, running)
    trees = []
    # They hardly ever differ, and are made every minute for every policy.
    for targets in (steady,) if staging == steady else (steady, staging):
        context = lower(policy, targets, known.features, running=running, primed=primed)
        tree = render(context, known.features)
        trees.append(_leave_near_ages(tree, known.slot.tree) if running and known.slot else tree)
    return Desired(
        policy=policy.name,
        tree=trees[0],
        staging=trees[-1],
        placements=placements,
        base_intervals=(policy.monitoring.sample_us, policy.monitoring.aggr_us),
        primed=primed,
        prime_at_us=prime_at_us,
    )


def _targets(
    policy: Policy,
    placements: tuple[Placement, ...],
    previous: tuple[Placement, ...] | None,
    known: Knowledge,
) -> tuple[tuple[TargetSpec, ...], tuple[TargetSpec, ...]]:
    if ops_of(policy.target) is Ops.PADDR:
        physical = (TargetSpec(0, known.physical),)
        return physical, physical
    steady = tuple(TargetSpec(held.pid) for held in placements)
    if previous is None:
        return steady, steady
    staging = [
        spec if _stays(index, held, previous) else TargetSpec(held.pid, _initial(held, known))
        for index, (spec, held) in enumerate(zip(steady, placements, strict=True))
    ]
    return steady, tuple(staging)


def _stays(index: int, held: Placement, previous: tuple[Placement, ...]) -> bool:
    return index < len(previous) and previous[index] == held


def _initial(held: Placement, known: Knowledge) -> tuple[AddressRange, ...]:
    return _NOWHERE if held.pid == PLACEHOLDER_PID else known.ranges(held.pid) or _NOWHERE


def _running_intervals(
    policy: Policy, record: SlotRecord | None, slot: ObservedSlot | None
) -> Intervals | None:
    """The intervals the kernel has tuned to, as last told; None when it does not tune."""
    base = (policy.monitoring.sample_us, policy.monitoring.aggr_us)
    if policy.monitoring.intervals_goal is None or record is None or slot is None:
        return None
    if record.base_intervals != base or AGGR_US not in slot.tree:
        return None
    return Intervals(int(slot.tree[SAMPLE_US]), int(slot.tree[AGGR_US]))


def _leave_near_ages(tree: Tree, held: Tree) -> Tree:
    """Ages as they are held, where the intervals have moved by so little that a commit is not worth
    it.

    The kernel's tuner never comes to rest: without this every look at it would end in a commit.
    """
    near = {
        path: held[path]
        for path, value in tree.items()
        if _AGE in path and path in held and _is_near(int(value), int(held[path]))
    }
    return {**tree, **near}


def _is_near(wanted: int, held: int) -> bool:
    return 0 < abs(wanted - held) * _NEAR <= held


def _prime(
    policy: Policy, record: SlotRecord | None, known: Knowledge, running: Intervals | None
) -> tuple[tuple[bool, ...], int]:
    """Which schemes' quotas have seen their first window, and when the others' will be over."""
    base = running or Intervals(policy.monitoring.sample_us, policy.monitoring.aggr_us)
    ops = ops_of(policy.target)
    lowered = [lower_scheme(s, policy.mode, ops, known.features, base) for s in policy.schemes]
    needs = [needs_priming(scheme, known.features) for scheme in lowered]
    done = record.primed if record else ()
    primed = [need and i < len(done) and done[i] for i, need in enumerate(needs)]
    if primed == needs:
        return tuple(primed), 0
    waits = [
        s.reset_interval_ms * 1_000 + 3 * max(s.apply_interval_us or base.aggr_us, base.aggr_us)
        for s, need in zip(lowered, needs, strict=True)
        if need
    ]
    if record is None or record.prime_at_us == 0 or len(done) != len(needs):
        return tuple(primed), known.now_us + max(waits)
    if known.now_us >= record.prime_at_us:
        return tuple(needs), 0
    return tuple(primed), record.prime_at_us
