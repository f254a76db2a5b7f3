"""Intervals and region counts a policy gets in user space."""

from __future__ import annotations

from typing import Final

from damos_agent.algo.lower import Intervals
from damos_agent.model.policy import Monitoring
from damos_agent.userspace.governor import Effective

PAGE_SAMPLE_US: Final = 100_000
"""No shorter: each look costs system calls, where the kernel's costs some page table entries."""
MAPPING_AGGR_US: Final = 2_000_000
"""No shorter: each look walks all of a process's page tables."""
SAMPLES: Final = 20
"""Looks per aggregation at most, the kernel's default: a rate is then right to within 11 %."""
MAPPING_SAMPLES: Final = 100
"""Rates of whole mappings are counted in percent: they are shares of bytes, no samples."""
MIN_REGIONS: Final = 100
"""At least so many, where the policy allows: with DAMON's ten, some hot spots take minutes to be
found at these intervals."""


SAMPLES_MIN: Final = 5
"""At least so many, where the policy asks for as many: below, rates mean nothing."""
_STRETCH_BP: Final = 11_000
_RELAX_BP: Final = 9_000

SEES_GUESTS: Final = frozenset({"page_idle"})
"""Probes that see what KVM guests access; to all others guests' memory would look idle."""


def page_intervals(monitoring: Monitoring) -> Intervals:
    """For page probes: as asked, but not below what is affordable; ages keep their meaning."""
    asked = Intervals(monitoring.sample_us, monitoring.aggr_us)
    samples = min(asked.samples, SAMPLES)
    sample_us = max(monitoring.sample_us, PAGE_SAMPLE_US, monitoring.aggr_us // samples)
    return Intervals(sample_us, sample_us * samples)


def mapping_intervals(aggr_us: int) -> Intervals:
    """For mapping probes: one look per aggregation, rates in percent."""
    window_us = max(aggr_us, MAPPING_AGGR_US)
    return Intervals(window_us // MAPPING_SAMPLES, window_us)


def region_bounds(monitoring: Monitoring) -> tuple[int, int]:
    """(min, max) numbers of regions over all processes of a policy."""
    most = monitoring.max_regions
    return max(monitoring.min_regions, min(MIN_REGIONS, most // 2)), most


def affordable(asked: Intervals, now: Intervals, effective: Effective) -> Intervals:
    """What to run with next: as asked, or slower by the governor's word.

    Fewer samples per aggregation come first, and then longer ones, since ages are counted by
    them. Every change costs fractions of counts and ages, so what runs stays while it is near.
    """
    if effective.sample_us <= asked.sample_us:
        return asked
    samples = min(max(asked.aggr_us // effective.sample_us, SAMPLES_MIN), asked.samples)
    aggr_us = max(asked.aggr_us, effective.sample_us * samples)
    near = now.sample_us * _RELAX_BP <= effective.sample_us * 10_000 <= now.sample_us * _STRETCH_BP
    longer = now.samples == samples and aggr_us > asked.aggr_us
    if near and (longer or now.aggr_us == asked.aggr_us):
        return now
    return Intervals(aggr_us // samples, aggr_us)
