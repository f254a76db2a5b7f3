"""Sense of a scheme's filters against its action and target (sysfs rules of Linux 6.15+). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from damos_agent.config.document import Loc
from damos_agent.config.issue import Issue
from damos_agent.model.policy import (
    Action,
    Filter,
    FilterType,
    PhysicalTarget,
    PidTarget,
    Scheme,
    Target,
)

_CORE: Final = frozenset({FilterType.ADDR, FilterType.TARGET})
_HONOUR_PAGE_FILTERS: Final = frozenset({Action.MIGRATE_HOT, Action.MIGRATE_COLD, Action.STAT})


def check_filters(scheme: Scheme, target: Target, at: Loc, *, damon: bool) -> Iterator[Issue]:
    """Every filter for itself, then together. `damon`: the kernel may have to honour them."""
    physical = isinstance(target, PhysicalTarget)
    for index, item in enumerate(scheme.filters):
        here = (*at, index)
        page_filter = damon and item.type not in _CORE
        if page_filter and not physical and scheme.action not in _HONOUR_PAGE_FILTERS:
            message = f"the kernel ignores filter {item.type} for {scheme.action} on processes"
            yield Issue("DA091", here, message, "use a physical target, or remove the filter")
        yield from _check_argument(item, target, here)
        if any(_same_catch(item, other) for other in scheme.filters[:index]):
            message = f"an equal {item.type} filter above decides first"
            yield Issue("DA095", here, message, "remove one")
    yield from _check_layers(scheme.filters, at)


def _same_catch(item: Filter, other: Filter) -> bool:
    return _catch(item) == _catch(other)


def _catch(item: Filter) -> tuple[object, ...]:
    argument = (item.cgroup, item.range, item.target_index, item.size_min, item.size_max)
    return (item.type, item.matching, *argument)


def _check_argument(item: Filter, target: Target, at: Loc) -> Iterator[Issue]:
    if item.range is not None and item.range.start >= item.range.end:
        yield Issue("DA093", at, "the address range is empty", "start must be less than end")
    if item.size_min is not None and item.size_max is not None and item.size_min > item.size_max:
        yield Issue("DA040", at, "hugepage_size: min is greater than max", "swap the two?")
    if item.type is FilterType.TARGET:
        yield from _check_target_index(item, target, at)


def _check_target_index(item: Filter, target: Target, at: Loc) -> Iterator[Issue]:
    index = item.target_index or 0
    if isinstance(target, PhysicalTarget):
        yield Issue("DA092", at, "physical memory has no targets to choose", "use an addr filter")
    elif not isinstance(target, PidTarget):
        message = "the processes of this target come in no order by which one could be chosen"
        hint = "list them under target.pids, or give them a policy of their own"
        yield Issue("DA092", at, message, hint)
    elif index >= len(target.pids):
        message = f"target {index} does not exist: the policy has {len(target.pids)}"
        yield Issue("DA092", at, message, "indexes count from 0")
    elif (first := target.pids.index(target.pids[index])) < index:
        message = f"target {index} is process {target.pids[index]} again, which is target {first}"
        yield Issue("DA092", at, message, f"write {first}, or list each pid once")


def _check_layers(filters: tuple[Filter, ...], at: Loc) -> Iterator[Issue]:
    if not any(item.type not in _CORE for item in filters):
        return
    for index, item in enumerate(filters):
        if item.type in _CORE and item.allow:
            message = f"allow {item.type} switches the page filters off for what it allows"
            hint = f"write reject: {{not: {{{item.type}: ...}}}}"
            yield Issue("DA094", (*at, index), message, hint)
