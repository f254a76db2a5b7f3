"""Monitoring attributes: which are possible, and what counts mean under new ones."""

from __future__ import annotations

from collections.abc import Iterable

from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.algo.sampling import WHOLE_BP
from damos_agent.model.damon import ContextSpec


def valid_attrs(spec: ContextSpec) -> bool:
    """Whether DAMON would take these attributes (damon_set_attrs(), 7.3)."""
    if not 3 <= spec.min_nr_regions <= spec.max_nr_regions or spec.sample_us > spec.aggr_us:
        return False
    if not spec.goal_aggrs:
        return True
    return spec.goal_min_sample_us <= spec.sample_us <= spec.goal_max_sample_us


def rescale(
    regions: Iterable[Region], old: Intervals, new: Intervals, *, at_boundary: bool
) -> None:
    """Keep shares of accesses and ages in time, up to rounding. Changes the regions.

    Counts of a window that is not over (`at_boundary` false) mean nothing under new intervals.
    """
    if not (old.sample_us and old.aggr_us and new.sample_us and new.aggr_us):
        return
    for region in regions:
        region.age = region.age * old.aggr_us // new.aggr_us
        region.last_nr_accesses = _count(region.last_nr_accesses, old, new)
        region.nr_accesses = _count(region.nr_accesses, old, new) if at_boundary else 0
        # Of what could not be told at least one check must be left.
        region.last_unknown = _up(region.last_unknown, old, new)
        region.unknown = _up(region.unknown, old, new) if at_boundary else 0


def _count(nr: int, old: Intervals, new: Intervals) -> int:
    return nr * WHOLE_BP // old.samples * new.samples // WHOLE_BP


def _up(nr: int, old: Intervals, new: Intervals) -> int:
    return -(-nr * new.samples // old.samples)
