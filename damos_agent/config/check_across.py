"""Policies against each other: one name each, and no fights over the same memory. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from damos_agent.model.policy import (
    Action,
    AddressRange,
    CgroupTarget,
    Mode,
    PhysicalTarget,
    PidTarget,
    Policy,
    Target,
    UnitTarget,
)


def same_names(policies: Sequence[Policy]) -> Iterator[tuple[Policy, Policy]]:
    """Each later policy that reuses a name, with the first one that has it."""
    first: dict[str, Policy] = {}
    for policy in policies:
        if policy.name in first:
            yield policy, first[policy.name]
        else:
            first[policy.name] = policy


def fights(policies: Sequence[Policy]) -> Iterator[tuple[Policy, Policy]]:
    """Each later enforcing policy that shares memory with an earlier one, as far as texts tell."""
    enforcing = [policy for policy in policies if _acts(policy)]
    for index, later in enumerate(enforcing):
        for earlier in enforcing[:index]:
            if overlap(earlier.target, later.target):
                yield later, earlier
                break


def _acts(policy: Policy) -> bool:
    acting = any(scheme.action is not Action.STAT for scheme in policy.schemes)
    return policy.mode is Mode.ENFORCE and acting


def overlap(one: Target, other: Target) -> bool:
    """Whether both surely cover some of the same memory.

    Physical memory overlaps with every process: whatever a process has is in it somewhere.
    """
    if isinstance(one, PhysicalTarget) and isinstance(other, PhysicalTarget):
        return _physical_overlap(one, other)
    if isinstance(one, PhysicalTarget) or isinstance(other, PhysicalTarget):
        return _is_whole(one) or _is_whole(other)
    if isinstance(one, PidTarget) and isinstance(other, PidTarget):
        return bool(set(one.pids) & set(other.pids))
    if isinstance(one, CgroupTarget) and isinstance(other, CgroupTarget):
        return _inside(one, other) or _inside(other, one)
    if isinstance(one, CgroupTarget) and isinstance(other, UnitTarget):
        return _unit_inside(other, one)
    if isinstance(one, UnitTarget) and isinstance(other, CgroupTarget):
        return _unit_inside(one, other)
    return one == other


def _is_whole(target: Target) -> bool:
    return isinstance(target, PhysicalTarget) and target == PhysicalTarget()


def _inside(inner: CgroupTarget, outer: CgroupTarget) -> bool:
    if inner.path == outer.path:
        return True
    return outer.descendants and inner.path.startswith(outer.path.rstrip("/") + "/")


def _unit_inside(unit: UnitTarget, group: CgroupTarget) -> bool:
    names = [part for part in group.path.split("/") if part]
    if unit.unit in names:
        return True
    return group.descendants and not names


def _physical_overlap(one: PhysicalTarget, other: PhysicalTarget) -> bool:
    if _is_whole(one) or _is_whole(other):
        return True
    if one.numa_node is not None and other.numa_node is not None:
        return one.numa_node == other.numa_node
    # A node against ranges: which addresses a node has is known on the host only.
    return any(_ranges_meet(a, b) for a in one.ranges for b in other.ranges)


def _ranges_meet(one: AddressRange, other: AddressRange) -> bool:
    return one.start < other.end and other.start < one.end
