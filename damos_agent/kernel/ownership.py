"""Whose kdamonds are these? Pure; the ABI itself has no notion of an owner.

Ours is what the ledger of this boot names and the kernel still shows. Everything else is foreign
and is never stopped, rewritten or reused.
"""

from __future__ import annotations

from dataclasses import dataclass

from damos_agent.model.damon import Ledger, ObservedKernel, ObservedSlot, SlotRecord, tree_digest
from damos_agent.model.units import plural


@dataclass(frozen=True, slots=True)
class Ownership:
    """`pool`: may we write `nr_kdamonds` and use its slots. `foreign`: slots that others use.

    `reason` says why the pool is not ours.
    """

    pool: bool
    foreign: frozenset[int] = frozenset()
    reason: str = ""


def judge(observed: ObservedKernel, ledger: Ledger, boot_id: str) -> Ownership:
    """What of `observed` belongs to us, by `ledger`, on the boot `boot_id`."""
    count = len(observed.slots)
    everyone = frozenset(range(count))
    if count == 0:
        return Ownership(pool=True)
    if ledger.pool == 0 or ledger.boot_id != boot_id:
        return Ownership(False, everyone, _foreign_reason(observed, "made by somebody else"))
    if ledger.pool != count:
        reason = f"remade by somebody else ({ledger.pool} were ours)"
        return Ownership(False, everyone, _foreign_reason(observed, reason))
    running = {index for index, slot in enumerate(observed.slots) if slot.running}
    ours = {i for i in running if _is_ours(observed.slots[i], ledger.slots.get(i))}
    if running and not ours:
        reason = "with contexts that we did not write"
        return Ownership(False, everyone, _foreign_reason(observed, reason))
    return Ownership(True, frozenset(running - ours))


def _is_ours(slot: ObservedSlot, record: SlotRecord | None) -> bool:
    if record is None:
        return False
    if slot.pid == record.kdamond_pid:
        return True
    # A crash right after `on` leaves a thread that nobody has written down yet.
    return tree_digest(slot.tree) in (record.digest, record.intent)


def _foreign_reason(observed: ObservedKernel, what: str) -> str:
    running = sum(slot.running for slot in observed.slots)
    return (
        f"{plural(len(observed.slots), 'DAMON kdamond')}, {running} of them running, {what}; "
        "left alone"
    )
