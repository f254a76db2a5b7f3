"""The schemes of one policy while it runs: counts for the running intervals, goals, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from damos_agent.algo.damos import apply_schemes
from damos_agent.algo.feedback import goal_score
from damos_agent.algo.lower import Intervals, shape_scheme
from damos_agent.algo.region import Region
from damos_agent.algo.scheme import SchemeState
from damos_agent.algo.turn import Round, Targets
from damos_agent.algo.watermarks import free_permil, is_active, wait_us
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.goal import PsiSample, read_goal_current, read_psi_sample
from damos_agent.host.memory import read_meminfo
from damos_agent.host.roots import Roots
from damos_agent.model.damon import SchemeSpec, SchemeStats
from damos_agent.model.errors import HostError
from damos_agent.model.feature import Feature, Features, Ops, Source
from damos_agent.model.policy import Goal, GoalMetric, Policy

EVERYTHING = Features("user space", Source.PROFILE, frozenset(Feature), frozenset({Ops.VADDR}))
"""What the rules of `algo` honour: all that any kernel does."""


def shape(policy: Policy, intervals: Intervals, ticks: int = 1) -> tuple[SchemeSpec, ...]:
    """The policy's schemes in counts of the running intervals, applied every `ticks` at most."""
    shaped = (
        shape_scheme(scheme, policy.mode, Ops.VADDR, EVERYTHING, intervals)
        for scheme in policy.schemes
    )
    return tuple(widen(spec, intervals, ticks) for spec in shaped)


def apply_ticks(spec: SchemeSpec, intervals: Intervals) -> int:
    """Sampling intervals from one application to the next, as `SchemeState` counts them."""
    return (spec.apply_interval_us or intervals.aggr_us) // max(intervals.sample_us, 1)


def apply_us(spec: SchemeSpec, intervals: Intervals, ticks: int) -> int:
    """Time from one application to the next, a multiple of `ticks` sampling intervals."""
    rounds = max(-(-apply_ticks(spec, intervals) // ticks), 1)
    return rounds * ticks * intervals.sample_us


def widen(spec: SchemeSpec, intervals: Intervals, ticks: int = 1) -> SchemeSpec:
    """The quota by windows of whole applications.

    Charge windows roll only when a scheme is applied: 16 MiB a second, applied every two seconds,
    would else be 8 MiB a second. They may roll half an application early, or one that comes a
    millisecond before its time would be left out.
    """
    short_us = spec.reset_interval_ms * 1_000
    if not short_us:
        return spec
    each_us = apply_us(spec, intervals, ticks)
    wide_us = max(each_us, short_us)
    window_us = -(-short_us // each_us) * each_us
    return replace(
        spec,
        quota_bytes=spec.quota_bytes * wide_us // short_us,
        quota_ms=spec.quota_ms * wide_us // short_us,
        reset_interval_ms=(window_us - each_us // 2) // 1_000,
    )


@dataclass(slots=True)
class Schemes:
    """`states` go in the policy's order, and stay over an edit as DAMON's do over a commit.

    `ticks`: sampling intervals between two chances to be applied.
    """

    fs: Filesystem
    roots: Roots
    policy: Policy
    intervals: Intervals
    ticks: int = 1
    states: list[SchemeState] = field(default_factory=list)
    _psi: dict[int, PsiSample] = field(default_factory=dict)
    _now_us: int = 0
    _tick: int = 0
    _look_us: int = 0

    def __post_init__(self) -> None:
        self.renew(self.policy, self.intervals)

    def renew(self, policy: Policy, intervals: Intervals) -> None:
        """Ages and rates are to be counted anew: the policy or the intervals have changed.

        What is left of the time until a scheme's turn stays, but no longer than it now waits; one
        that is new waits its whole interval.
        """
        specs = shape(policy, intervals, self.ticks)
        was_us, self.policy, self.intervals = self.intervals.sample_us, policy, intervals
        del self.states[len(specs) :]
        for state, spec in zip(self.states, specs, strict=False):
            left = -(-max(state.next_tick - self._tick, 0) * was_us // intervals.sample_us)
            state.spec = spec
            state.next_tick = self._tick + min(left, apply_ticks(spec, intervals))
            state.active |= spec.wmark_metric == "none"
        for spec in specs[len(self.states) :]:
            due = self._tick + apply_ticks(spec, intervals)
            self.states.append(SchemeState(spec, next_tick=due))
        self._look_us = 0

    def rest_us(self, now_us: int) -> int:
        """How long free memory will be outside of every scheme's watermarks; 0: do go on."""
        marked = [state for state in self.states if state.spec.wmark_metric != "none"]
        if marked and now_us >= self._look_us:
            permil = self._free_permil()
            for state in marked:
                state.active = is_active(state.spec, permil, state.active)
            self._look_us = now_us + min(state.spec.wmark_interval_us for state in marked)
        waits = wait_us((state.spec, state.active) for state in self.states)
        return min(waits, max(self._look_us - now_us, 1))

    def due(self, tick: int) -> bool:
        """Whether it is the turn of any at `tick`."""
        self._tick = tick
        return any(tick >= state.next_tick for state in self.states)

    def apply(self, round_: Round, targets: Targets) -> list[list[Region]]:
        """One round; the regions afterwards."""
        self._now_us = round_.now_us
        return apply_schemes(round_, targets, self.states)

    def stats(self) -> tuple[SchemeStats, ...]:
        """The counters of all schemes; effective quotas by the interval the policy says."""
        return tuple(self._stats(index, state.stats()) for index, state in enumerate(self.states))

    def _stats(self, index: int, stats: SchemeStats) -> SchemeStats:
        quota = self.policy.schemes[index].quota
        if quota is None or stats.effective_bytes is None:
            return stats
        each_us = apply_us(self.states[index].spec, self.intervals, self.ticks)
        wide_us = max(each_us, quota.interval_us)
        return replace(stats, effective_bytes=stats.effective_bytes * quota.interval_us // wide_us)

    def scores(self, index: int) -> Sequence[int | None]:
        """How far each goal of that scheme is met, as the kernel measures; None: not told."""
        quota = self.policy.schemes[index].quota
        goals = quota.goals if quota else ()
        previous = now = None
        if any(goal.metric is GoalMetric.MEMORY_PSI_SOME for goal in goals):
            # A share of the time since this scheme looked last, whoever else looked meanwhile.
            previous = self._psi.get(index)
            now = read_psi_sample(self.fs, self.roots, self._now_us)
            if now is not None:
                self._psi[index] = now
        return [self._score(goal, previous, now) for goal in goals]

    def _score(self, goal: Goal, previous: PsiSample | None, now: PsiSample | None) -> int | None:
        current = read_goal_current(self.fs, self.roots, goal, previous, now)
        return None if current is None else goal_score(current, goal.target)

    def _free_permil(self) -> int | None:
        try:
            info = read_meminfo(self.fs, self.roots)
        except (HostError, OSError):
            return None
        return free_permil(info.get("MemFree", 0), info.get("MemTotal", 0))
