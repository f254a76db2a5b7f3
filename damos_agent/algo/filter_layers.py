"""Filters of a policy, put in the layer where the kernel looks for them. Pure.

Since 6.15 address and target filters are core filters, all others ops filters, and a list that
ends in an allow filter rejects what no filter caught. Before, there was one list in which
(before 6.14) every filter rejects and what no filter caught is accepted; a final `allow X` is
then written as `reject everything but X`, which is the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass

from damos_agent.model.damon import FilterSpec
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.feature import Feature, Features, missing_feature
from damos_agent.model.policy import Filter, FilterType
from damos_agent.model.units import ULONG_MAX

_CORE = (FilterType.ADDR, FilterType.TARGET)
_NEEDED = {
    FilterType.ANON: Feature.FILTERS,
    FilterType.MEMCG: Feature.FILTERS,
    FilterType.ADDR: Feature.ADDR_TARGET_FILTERS,
    FilterType.TARGET: Feature.ADDR_TARGET_FILTERS,
    FilterType.YOUNG: Feature.YOUNG_FILTER,
}


@dataclass(frozen=True, slots=True)
class Layers:
    """`core` and `ops` filters on kernels with layers, `flat` ones on older kernels."""

    core: tuple[FilterSpec, ...] = ()
    ops: tuple[FilterSpec, ...] = ()
    flat: tuple[FilterSpec, ...] = ()


def lower_filters(filters: tuple[Filter, ...], features: Features) -> Layers:
    """Distribute `filters`; order is kept within a layer."""
    for item in filters:
        needed = _NEEDED.get(item.type, Feature.PAGE_STATE_FILTERS)
        if needed not in features:
            raise missing_feature(needed, features, f"filter '{item.type}'")
    if Feature.FILTER_LAYERS not in features:
        return Layers(flat=_flat(filters, features))
    core = tuple(_spec(item) for item in filters if item.type in _CORE)
    ops = tuple(_spec(item) for item in filters if item.type not in _CORE)
    if ops and any(item.allow for item in core):
        raise UnsupportedError(
            "DAMON does not consult page filters for memory that an address or target filter "
            "allows, and lets the rest fall through to them",
            hint="write the address or target filter as a reject filter",
        )
    return Layers(core=core, ops=ops)


def _flat(filters: tuple[Filter, ...], features: Features) -> tuple[FilterSpec, ...]:
    if any(item.allow for item in filters[:-1]):
        raise missing_feature(Feature.FILTER_LAYERS, features, "more than one allow filter")
    return tuple(_spec(item, as_reject=item.allow) for item in filters)


def _spec(item: Filter, *, as_reject: bool = False) -> FilterSpec:
    return FilterSpec(
        type=item.type,
        matching=item.matching != as_reject,
        allow=item.allow and not as_reject,
        memcg_path=item.cgroup or "",
        addr_start=item.range.start if item.range else 0,
        addr_end=item.range.end if item.range else 0,
        target_idx=item.target_index or 0,
        min=item.size_min or 0,
        max=ULONG_MAX
        if item.type is FilterType.HUGEPAGE_SIZE and item.size_max is None
        else item.size_max or 0,
    )
