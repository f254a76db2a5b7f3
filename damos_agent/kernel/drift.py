"""Did somebody else change what we had committed? Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from damos_agent.kernel.diff import differing
from damos_agent.model.damon import (
    ObservedSlot,
    Placement,
    SlotRecord,
    Tree,
    is_transient,
    tree_digest,
)


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs from the last commit: `differences` as `file: found, wanted`."""

    policy: str
    slot: int
    differences: tuple[str, ...]


def find_drift(
    index: int,
    slot: ObservedSlot,
    record: SlotRecord,
    alive: Collection[Placement],
    wanted: Tree | None,
) -> Drift | None:
    """None when the slot is as we left it, or changed for reasons that are nobody's doing.

    A kdamond that ended because all its target processes did is no drift; one that is off while
    any of them lives was stopped by somebody. `wanted` only makes the differences readable.
    """
    if not record.digest or record.intent:
        return None  # a change of our own was cut short
    if not slot.running:
        stopped = not record.placements or bool(set(alive) & set(record.placements))
        if not stopped:
            return None
        differences: tuple[str, ...] = ("state: found off, wanted on",)
    elif tree_digest(slot.tree) == record.digest:
        return None
    else:
        differences = _describe(slot.tree, wanted)
    return Drift(record.policy, index, differences)


def _describe(found: Tree, wanted: Tree | None) -> tuple[str, ...]:
    paths = [p for p in differing(found, wanted or {}) if not is_transient(found, p)]
    lines = [f"{p}: found {found.get(p, 'nothing')}, wanted {(wanted or {})[p]}" for p in paths]
    return tuple(lines[:8]) or ("the staged files are not what was committed",)
