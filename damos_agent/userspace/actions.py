"""DAMOS actions as user space can do them to other processes, and why it cannot do the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from damos_agent.host.madvise import Advice
from damos_agent.model.damon import SchemeSpec
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import Action
from damos_agent.userspace.capable import WITHOUT_COUNTERPART
from damos_agent.userspace.effect import HUGE_BYTES

_NOTES: Final = {
    Action.HUGEPAGE: (
        "hugepage is done as collapse: whole aligned 2 MiB ranges become huge pages now; "
        "the mapping is not marked for later"
    ),
}


@dataclass(frozen=True, slots=True)
class Way:
    """How an action is done: the advice, in calls of at most `call_bytes`, on whole `unit`s."""

    advice: Advice
    call_bytes: int = HUGE_BYTES
    unit: int = 1


WAYS: Final = {
    # A call holds the target's mmap lock: 2 MiB of pageout is 2-5 ms, 32 MiB of cold 0.6 ms.
    Action.PAGEOUT: Way(Advice.PAGEOUT),
    Action.COLD: Way(Advice.COLD, call_bytes=16 * HUGE_BYTES),
    Action.WILLNEED: Way(Advice.WILLNEED),
    Action.COLLAPSE: Way(Advice.COLLAPSE, unit=HUGE_BYTES),
    Action.HUGEPAGE: Way(Advice.COLLAPSE, unit=HUGE_BYTES),
}
MIGRATIONS: Final = frozenset({Action.MIGRATE_HOT, Action.MIGRATE_COLD})


def supported(action: str) -> str:
    """Empty, or why user space has no counterpart of this action and what to do instead."""
    if action not in list(Action):
        return f"{action} is no action this agent knows"
    return WITHOUT_COUNTERPART.get(Action(action), "")


def note(action: str) -> str:
    """What is different about this action in user space; empty for no difference."""
    return _NOTES.get(Action(action), "") if action in list(Action) else ""


def check_schemes(schemes: Sequence[SchemeSpec]) -> None:
    """Raise `UnsupportedError` for the first scheme that cannot be carried out."""
    for index, scheme in enumerate(schemes):
        reason = supported(scheme.action)
        if reason:
            raise UnsupportedError(
                f"scheme {index}: {scheme.action} cannot be done from user space", hint=reason
            )
        if scheme.action in MIGRATIONS and scheme.target_nid < 0 and not scheme.dests:
            raise UnsupportedError(
                f"scheme {index}: {scheme.action} names no NUMA node", hint="set target_nid"
            )
