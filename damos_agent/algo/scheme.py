"""A scheme while it runs: its quota, when its turn is, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass, field

from damos_agent.algo.actor import Applied
from damos_agent.algo.lower import Intervals
from damos_agent.algo.quota import QuotaState
from damos_agent.model.damon import SchemeSpec, SchemeStats


@dataclass(slots=True)
class SchemeState:
    """Counts since the scheme was created, sizes in bytes.

    Two are of its latest round only: `tried_bytes` matched; of them `unknown_bytes` may not be
    idle, since checks told nothing and none found an access. `next_tick` is in sampling intervals
    since the start; `active` is the verdict of the watermarks.
    """

    spec: SchemeSpec
    quota: QuotaState = field(default_factory=QuotaState)
    active: bool = True
    next_tick: int = 0
    nr_tried: int = 0
    sz_tried: int = 0
    nr_applied: int = 0
    sz_applied: int = 0
    sz_ops_filter_passed: int = 0
    nr_snapshots: int = 0
    tried_bytes: int = 0
    unknown_bytes: int = 0

    def __post_init__(self) -> None:
        if self.spec.filters:
            raise ValueError("filters without layers are for old kernels: lower for layers")

    @property
    def exhausted(self) -> bool:
        """It has seen as many snapshots as it may."""
        return 0 < self.spec.max_nr_snapshots <= self.nr_snapshots

    def is_due(self, tick: int) -> bool:
        """Whether it takes part in the round at `tick`."""
        return self.active and tick >= self.next_tick

    def passed(self, tick: int, intervals: Intervals) -> None:
        """Its turn is over, or was missed: set the next one."""
        if tick >= self.next_tick:
            interval_us = self.spec.apply_interval_us or intervals.aggr_us
            self.next_tick = tick + interval_us // max(intervals.sample_us, 1)

    def count(self, size: int, tried: int, applied: Applied) -> None:
        """A region of `size` bytes matched, `tried` of them were dealt with."""
        self.nr_tried += tried > 0
        self.sz_tried += tried
        self.tried_bytes += size
        self.nr_applied += applied.applied > 0
        self.sz_applied += applied.applied
        self.sz_ops_filter_passed += applied.passed or 0

    def stats(self) -> SchemeStats:
        """The counters as every backend reports them."""
        return SchemeStats(
            nr_tried=self.nr_tried,
            sz_tried=self.sz_tried,
            nr_applied=self.nr_applied,
            sz_applied=self.sz_applied,
            qt_exceeds=self.quota.exceeds,
            sz_ops_filter_passed=self.sz_ops_filter_passed,
            nr_snapshots=self.nr_snapshots,
            effective_bytes=self.quota.esz,
            tried_bytes=self.tried_bytes,
        )
