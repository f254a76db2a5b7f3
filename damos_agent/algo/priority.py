"""Which memory first, when a quota does not reach for all (damon_hot_score() and the cut)."""

from __future__ import annotations

from collections.abc import Sequence

from damos_agent.algo.lower import Intervals
from damos_agent.model.damon import SchemeSpec
from damos_agent.model.policy import Action
from damos_agent.model.units import U32_MAX

MAX_SCORE = 99
_MAX_AGE_LOG = 32
_COLD_FIRST = frozenset({Action.PAGEOUT, Action.LRU_DEPRIO, Action.MIGRATE_COLD})
_HOT_FIRST = frozenset({Action.LRU_PRIO, Action.MIGRATE_HOT})


def score(scheme: SchemeSpec, nr: int, age: int, intervals: Intervals) -> int:
    """0 to 99, larger is sooner. Most actions have no preference: always 99."""
    if scheme.action in _COLD_FIRST:
        return MAX_SCORE - hotness(scheme, nr, age, intervals)
    return hotness(scheme, nr, age, intervals) if scheme.action in _HOT_FIRST else MAX_SCORE


def hotness(scheme: SchemeSpec, nr: int, age: int, intervals: Intervals) -> int:
    """0 to 99 by frequency, and by the age in seconds on a logarithmic scale.

    A long age makes idle memory colder and accessed memory hotter. Less than one access in a
    hundred checks is idle.
    """
    freq = nr * 100 // intervals.samples
    seconds = age * intervals.aggr_us // 1_000_000 & U32_MAX
    log = min(seconds.bit_length(), _MAX_AGE_LOG)
    log = log if freq else -log
    age_part = (log + _MAX_AGE_LOG) * 100 // _MAX_AGE_LOG // 2
    weights = scheme.weight_nr_accesses + scheme.weight_age
    if weights == 0:
        return 0
    mean = (scheme.weight_nr_accesses * freq + scheme.weight_age * age_part) // weights
    return min(max(mean * 99 // 100, 0), MAX_SCORE)


def cut(histogram: Sequence[int], esz: int) -> int:
    """The lowest score to act on: with all above it there are `esz` bytes, or that is all.

    `histogram`: bytes by score. One pass over the regions instead of sorting them.
    """
    reached = 0
    for value in range(len(histogram) - 1, 0, -1):
        reached += histogram[value]
        if reached >= esz:
            return value
    return 0
