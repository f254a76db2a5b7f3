"""Policies against each other: one name each, and no fights over the same memory. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from damos_agent.algo.overlap import acts
from damos_agent.config.check_reach import is_every_process
from damos_agent.model.policy import (
    AddressRange,
    CgroupTarget,
    ContainerTarget,
    PhysicalTarget,
    PidTarget,
    Policy,
    ProcessTarget,
    Target,
    UnitTarget,
)


def same_names(
    policies: Sequence[Policy], holders: Mapping[str, str]
) -> Iterator[tuple[Policy, str]]:
    """Each policy that takes a name which another has, with that one's path.

    `holders`: names that have a file already; of the others the first one has it.
    """
    first = dict(holders)
    for policy in policies:
        path = first.setdefault(policy.name, policy.origin.path)
        if path != policy.origin.path:
            yield policy, path


def fights(policies: Sequence[Policy]) -> Iterator[tuple[Policy, tuple[Policy, ...]]]:
    """Each later enforcing policy that shares memory with earlier ones, as far as texts tell.

    What only the machine tells (which processes a command line matches) is told by the agent.
    """
    enforcing = [policy for policy in policies if acts(policy)]
    for index, later in enumerate(enforcing):
        opponents = [e for e in enforcing[:index] if overlap(e.target, later.target)]
        if opponents:
            yield later, tuple(opponents)


def overlap(one: Target, other: Target) -> bool:
    """Whether both surely cover some of the same memory, given that there is such a process.

    Physical memory overlaps with every process: whatever a process has is in it somewhere.
    """
    if isinstance(one, PhysicalTarget) and isinstance(other, PhysicalTarget):
        return _physical_overlap(one, other)
    if isinstance(one, PhysicalTarget) or isinstance(other, PhysicalTarget):
        return _is_whole(one) or _is_whole(other)
    if isinstance(one, PidTarget) and isinstance(other, PidTarget):
        return bool(set(one.pids) & set(other.pids))
    return _covers(one, other) or _covers(other, one)


def _covers(outer: Target, inner: Target) -> bool:
    """Whether every process of `inner` is one of `outer`."""
    if outer == inner or _is_everything(outer):
        return True
    if isinstance(outer, ProcessTarget) and isinstance(inner, ProcessTarget):
        return _implies(inner, outer)
    if isinstance(outer, ContainerTarget) and isinstance(inner, ContainerTarget):
        return inner.id_prefix.startswith(outer.id_prefix)
    if isinstance(outer, UnitTarget) and isinstance(inner, UnitTarget):
        return outer.unit in _slices_of(inner.unit)
    if isinstance(inner, CgroupTarget):
        return _covers_group(outer, inner)
    if isinstance(outer, CgroupTarget) and isinstance(inner, UnitTarget):
        last = (_parts(outer) or [""])[-1]
        return last == inner.unit or (outer.descendants and last in _slices_of(inner.unit))
    return False


def _covers_group(outer: Target, inner: CgroupTarget) -> bool:
    if isinstance(outer, CgroupTarget):
        return outer.path == inner.path or (
            outer.descendants and inner.path.startswith(outer.path.rstrip("/") + "/")
        )
    if isinstance(outer, UnitTarget):
        return outer.unit in _parts(inner)
    if isinstance(outer, ContainerTarget):
        return any(found.startswith(outer.id_prefix) for found in _ID.findall(inner.path))
    return False


_ID: Final = re.compile(r"[0-9a-f]{64}")


def _parts(group: CgroupTarget) -> list[str]:
    return [part for part in group.path.split("/") if part]


def _is_everything(target: Target) -> bool:
    if isinstance(target, CgroupTarget):
        return target.descendants and not _parts(target)
    if is_every_process(target):
        return True
    return isinstance(target, UnitTarget) and target.unit == "-.slice"


def _implies(inner: ProcessTarget, outer: ProcessTarget) -> bool:
    exe = outer.exe is None or (inner.exe is not None and _same_program(inner.exe, outer.exe))
    cmdline = outer.cmdline in (None, inner.cmdline)
    return exe and cmdline and outer.user in (None, inner.user)


def _same_program(inner: str, outer: str) -> bool:
    """A base name stands for programs of that name in any directory."""
    return inner == outer or ("/" not in outer and inner.rpartition("/")[2] == outer)


def _slices_of(unit: str) -> set[str]:
    """The slices a unit is in unless its Slice= says otherwise (systemd.slice(5))."""
    stem, _, kind = unit.rpartition(".")
    if kind == "slice":
        names = stem.split("-")
        return {f"{'-'.join(names[:end])}.slice" for end in range(1, len(names))}
    if kind != "service":
        return set()
    if stem.startswith("user@"):
        return {"user.slice", f"user-{stem.removeprefix('user@')}.slice"}
    template, at, _ = stem.partition("@")
    return {"system.slice", f"system-{template}.slice"} if at else {"system.slice"}


def _is_whole(target: Target) -> bool:
    return isinstance(target, PhysicalTarget) and target == PhysicalTarget()


def _physical_overlap(one: PhysicalTarget, other: PhysicalTarget) -> bool:
    if _is_whole(one) or _is_whole(other):
        return True
    if one.numa_node is not None and other.numa_node is not None:
        return one.numa_node == other.numa_node
    # A node against ranges: which addresses a node has is known on the host only.
    return any(_ranges_meet(a, b) for a in one.ranges for b in other.ranges)


def _ranges_meet(one: AddressRange, other: AddressRange) -> bool:
    return one.start < other.end and other.start < one.end
