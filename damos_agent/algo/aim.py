"""Target filters: the n-th process of the policy's own list, wherever it is monitored. Pure.

DAMON counts the targets of its context, where the process meant may sit at another index, or not
at all. Only a list of pids has an order to count by; of any other target it would be chance.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from damos_agent.model.damon import PLACEHOLDER_PID, Placement
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import Filter, FilterType, PidTarget, Policy, Scheme, Target

NOBODY = 2**31 - 1
"""An index no target ever has: the process meant is not there, and nobody stands in for it."""

_ABSENT = Placement(PLACEHOLDER_PID, 0)


def aim(policy: Policy, placements: Sequence[Placement]) -> Policy:
    """`policy` with its target filters counting `placements`. Raises as `check_aim`."""
    check_aim(policy)
    if not isinstance(policy.target, PidTarget):
        return policy
    pids = policy.target.pids
    found = {held.pid: index for index, held in reversed(list(enumerate(placements)))}
    indexes = {place: found.get(pid, NOBODY) for place, pid in enumerate(pids)}
    schemes = tuple(_aim_scheme(scheme, indexes) for scheme in policy.schemes)
    return replace(policy, schemes=schemes)


def check_aim(policy: Policy) -> None:
    """Raise `UnsupportedError` where a target filter could name anybody."""
    if isinstance(policy.target, PidTarget):
        return
    filters = (item for scheme in policy.schemes for item in scheme.filters)
    if any(item.type is FilterType.TARGET for item in filters):
        raise UnsupportedError(
            "filter 'target' counts the processes of a list, and this policy's target has no order",
            hint="list them under target.pids, or give them a policy of their own",
        )


def in_order(target: Target, present: Collection[Placement]) -> tuple[Placement, ...]:
    """`present` at the indexes that a policy's target filters count.

    Whoever is missing from a list of pids leaves a placeholder, so that nobody moves up; who is
    not on the list comes behind it.
    """
    if not isinstance(target, PidTarget):
        return tuple(present)
    by_pid = {held.pid: held for held in present}
    listed = [by_pid.pop(pid, _ABSENT) for pid in target.pids]
    return (*listed, *by_pid.values())


def _aim_scheme(scheme: Scheme, indexes: dict[int, int]) -> Scheme:
    return replace(scheme, filters=tuple(_aim_filter(item, indexes) for item in scheme.filters))


def _aim_filter(item: Filter, indexes: dict[int, int]) -> Filter:
    if item.type is not FilterType.TARGET:
        return item
    return replace(item, target_index=indexes.get(item.target_index or 0, NOBODY))
