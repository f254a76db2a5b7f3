"""Intervals and region counts a policy gets in user space."""

from __future__ import annotations

from typing import Final

from damos_agent.algo.lower import Intervals
from damos_agent.model.policy import Monitoring

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
