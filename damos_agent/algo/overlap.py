"""Enforcing policies that act on the same processes, now that these are known. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from damos_agent.model.damon import Placement
from damos_agent.model.policy import Action, Mode, Policy

Shared = dict[tuple[str, ...], tuple[Placement, ...]]
"""Names of two or more policies, in order, and the processes they share."""


def acts(policy: Policy) -> bool:
    """Whether it changes anything: enforced, with a scheme that does not only count."""
    acting = any(scheme.action is not Action.STAT for scheme in policy.schemes)
    return policy.mode is Mode.ENFORCE and acting


def find_shared(processes: Mapping[str, Iterable[Placement]]) -> Shared:
    """Whom more than one of the policies, given with their processes, acts on."""
    owners: defaultdict[Placement, set[str]] = defaultdict(set)
    for name, placements in processes.items():
        for process in placements:
            owners[process].add(name)
    shared: defaultdict[tuple[str, ...], list[Placement]] = defaultdict(list)
    for process, names in owners.items():
        if len(names) > 1:
            shared[tuple(sorted(names))].append(process)
    return {names: tuple(found) for names, found in sorted(shared.items())}


def notes_of(name: str, shared: Shared) -> tuple[str, ...]:
    """What to say of it to users of policy `name`."""
    counts: defaultdict[str, int] = defaultdict(int)
    for names, processes in shared.items():
        for other in names if name in names else ():
            counts[other] += len(processes)
    counts.pop(name, None)
    return tuple(
        f"policy {other} acts on {count} of the same processes too"
        if count > 1
        else f"policy {other} acts on the same process too"
        for other, count in sorted(counts.items())
    )
