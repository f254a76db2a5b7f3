"""Auto-tuning of the intervals: as slow as can be, as long as enough accesses are seen.

Law: kdamond_tune_intervals(), 6.15. A step at most doubles and at most halves the intervals.
"""

from __future__ import annotations

from collections.abc import Iterable

from damos_agent.algo.feedback import MET_BP, feed
from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.model.policy import IntervalsGoal


def tune(
    targets: Iterable[Iterable[Region]], now: Intervals, goal: IntervalsGoal, aggr_samples: int
) -> Intervals:
    """The intervals to go on with, at the end of a window.

    `aggr_samples`: checks per aggregation as the user set them, a ratio that never changes. What
    the regions know is to be rescaled (`attrs`) when the result differs.
    """
    factor = adaptation_bp(observed_bp(targets, aggr_samples, goal.access_bp))
    if factor == MET_BP:
        return now
    sample = now.sample_us * factor // MET_BP
    sample = min(max(sample, goal.min_sample_us), goal.max_sample_us)
    return Intervals(sample, sample * aggr_samples)


def observed_bp(targets: Iterable[Iterable[Region]], aggr_samples: int, access_bp: int) -> int:
    """Accesses seen, by bytes, as a share of those wanted; 10000 is as wanted."""
    observed = possible = 0
    for regions in targets:
        for region in regions:
            size = region.end - region.start
            observed += size * region.nr_accesses
            possible += size * aggr_samples
    return observed * MET_BP // max(1, possible * access_bp // MET_BP)


def adaptation_bp(score: int) -> int:
    """By how much to stretch the intervals at that score: 5000 to 20000 basis points."""
    factor = feed(100_000_000, score) // MET_BP
    return factor if factor > MET_BP else MET_BP // 2 + factor // 2
