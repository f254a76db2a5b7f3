"""Filters: which memory a scheme may act on. Pure.

Core filters (address, target) judge regions before anything is charged, ops filters single
pages. In both lists the first filter that catches decides. What is not known never makes a page
acceptable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from damos_agent.model.damon import FilterSpec, SchemeSpec
from damos_agent.model.policy import FilterType


class Verdict(Enum):
    """Of the core filters. Only what they `PASS` is for the ops filters to judge."""

    REJECT = "reject"
    PASS = "pass"  # noqa: S105 - no password
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on a region from its start up to `end`; behind it another may hold."""

    verdict: Verdict
    end: int


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What is known of a page (folio); None where it is not.

    `memcg`: path of its cgroup; `hugepage_bytes`: size of the folio it is in, that of a page for
    a small one; `unmapped`: no process maps it.
    """

    anon: bool | None = None
    memcg: str | None = None
    young: bool | None = None
    hugepage_bytes: int | None = None
    active: bool | None = None
    unmapped: bool | None = None


def core_accepts_rest(core: Sequence[FilterSpec], ops: Sequence[FilterSpec]) -> bool:
    """Whether a region that no core filter catches goes on: with ops filters always."""
    return bool(ops) or not (core and core[-1].allow)


def ops_accepts_rest(ops: Sequence[FilterSpec]) -> bool:
    """Whether a page that no ops filter catches is accepted."""
    return not (ops and ops[-1].allow)


def judge(scheme: SchemeSpec, start: int, end: int, target: int, unit: int) -> Judged:
    """The core filters' verdict on [start, end) of target number `target`, or on its left part."""
    core, ops = scheme.core_filters, scheme.ops_filters
    for item in core:
        is_type, end = _is_core_type(item, start, end, target, unit)
        if is_type == item.matching:
            return Judged(Verdict.ALLOW if item.allow else Verdict.REJECT, end)
    return Judged(Verdict.PASS if core_accepts_rest(core, ops) else Verdict.REJECT, end)


def accepts_page(ops: Sequence[FilterSpec], facts: PageFacts) -> bool:
    """The ops filters' verdict on one page: whether it is certain that they accept it.

    A filter that cannot tell might catch: a reject filter then rejects, an allow filter does not
    allow.
    """
    for item in ops:
        fact = _is_ops_type(item, facts)
        if (fact is None and not item.allow) or fact is item.matching:
            return item.allow
    return ops_accepts_rest(ops)


def _is_core_type(
    item: FilterSpec, start: int, end: int, target: int, unit: int
) -> tuple[bool, int]:
    """Whether [start, end) is of the filter's type, shortened so that all of it is or is not."""
    if item.type != FilterType.ADDR:
        return item.type == FilterType.TARGET and target == item.target_idx, end
    low, high = _whole_units(item, unit)
    if low <= start < high:
        return True, min(end, high)
    return False, min(end, low) if start < low else end


def _whole_units(item: FilterSpec, unit: int) -> tuple[int, int]:
    """The range in whole units, rounded so that of a unit in doubt it is the lesser action."""
    if item.allow == item.matching:
        return -(-item.addr_start // unit) * unit, item.addr_end // unit * unit
    return item.addr_start // unit * unit, -(-item.addr_end // unit) * unit


def _is_ops_type(item: FilterSpec, facts: PageFacts) -> bool | None:
    ask = _OPS_TYPES.get(item.type)
    return ask(item, facts) if ask else None


def _in_memcg(item: FilterSpec, facts: PageFacts) -> bool | None:
    return None if facts.memcg is None else facts.memcg == item.memcg_path


def _of_size(item: FilterSpec, facts: PageFacts) -> bool | None:
    size = facts.hugepage_bytes
    return None if size is None else item.min <= size <= item.max


_OPS_TYPES: Mapping[str, Callable[[FilterSpec, PageFacts], bool | None]] = {
    FilterType.ANON: lambda _, facts: facts.anon,
    FilterType.MEMCG: _in_memcg,
    FilterType.YOUNG: lambda _, facts: facts.young,
    FilterType.HUGEPAGE_SIZE: _of_size,
    FilterType.ACTIVE: lambda _, facts: facts.active,
    FilterType.UNMAPPED: lambda _, facts: facts.unmapped,
}
