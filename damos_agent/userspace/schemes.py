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
from damos_agent.algo.watermarks import free_permil, is_active
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


def shape(policy: Policy, intervals: Intervals) -> tuple[SchemeSpec, ...]:
    """The policy's schemes in counts of the running intervals."""
    shaped = (
        shape_scheme(scheme, policy.mode, Ops.VADDR, EVERYTHING, intervals)
        for scheme in policy.schemes
    )
    return tuple(widen(spec, intervals) for spec in shaped)


def stretch_ppm(spec: SchemeSpec, intervals: Intervals) -> int:
    """By how much the time between two applications exceeds the quota's interval; 10^6: not."""
    apply_us = max(spec.apply_interval_us or intervals.aggr_us, intervals.sample_us)
    reset_us = spec.reset_interval_ms * 1_000
    return max(apply_us * 1_000_000 // reset_us, 1_000_000) if reset_us else 1_000_000


def widen(spec: SchemeSpec, intervals: Intervals) -> SchemeSpec:
    """A quota whose interval is shorter than the time between two applications, at the same rate.

    Charge windows roll only when a scheme is applied: 16 MiB a second, applied every two seconds,
    would else be 8 MiB a second.
    """
    ppm = stretch_ppm(spec, intervals)
    return replace(
        spec,
        quota_bytes=spec.quota_bytes * ppm // 1_000_000,
        quota_ms=spec.quota_ms * ppm // 1_000_000,
        reset_interval_ms=spec.reset_interval_ms * ppm // 1_000_000,
    )


@dataclass(slots=True)
class Schemes:
    """`states` go in the policy's order, and stay over an edit as DAMON's do over a commit."""

    fs: Filesystem
    roots: Roots
    policy: Policy
    intervals: Intervals
    states: list[SchemeState] = field(default_factory=list)
    _psi: dict[int, PsiSample] = field(default_factory=dict)
    _now_us: int = 0

    def __post_init__(self) -> None:
        self.renew(self.policy, self.intervals)

    def renew(self, policy: Policy, intervals: Intervals) -> None:
        """Ages and rates are to be counted anew: the policy or the intervals have changed."""
        specs = shape(policy, intervals)
        self.policy, self.intervals = policy, intervals
        del self.states[len(specs) :]
        for index, spec in enumerate(specs):
            if index < len(self.states):
                self.states[index].spec = spec
            else:
                self.states.append(SchemeState(spec))

    def reschedule(self, tick: int) -> None:
        """Ticks are counted anew from `tick`: each scheme waits its whole interval."""
        for state in self.states:
            state.next_tick = tick
            state.passed(tick, self.intervals)

    def due(self, tick: int) -> bool:
        """Whether any takes part at `tick`. Watermarks are looked at when it is their time."""
        ready = [state for state in self.states if tick >= state.next_tick]
        if any(state.spec.wmark_metric != "none" for state in ready):
            permil = self._free_permil()
            for state in ready:
                state.active = is_active(state.spec, permil, state.active)
        return bool(ready)

    def apply(self, round_: Round, targets: Targets) -> list[list[Region]]:
        """One round; the regions afterwards."""
        self._now_us = round_.now_us
        return apply_schemes(round_, targets, self.states)

    def stats(self) -> tuple[SchemeStats, ...]:
        """The counters of all schemes; effective quotas by the interval the policy says."""
        return tuple(self._stats(index, state.stats()) for index, state in enumerate(self.states))

    def _stats(self, index: int, stats: SchemeStats) -> SchemeStats:
        quota = self.policy.schemes[index].quota
        wide_us = self.states[index].spec.reset_interval_ms * 1_000
        if quota is None or not wide_us or stats.effective_bytes is None:
            return stats
        return replace(stats, effective_bytes=stats.effective_bytes * quota.interval_us // wide_us)

    def scores(self, index: int) -> Sequence[int | None]:
        """How far each goal of that scheme is met, as the kernel measures; None: not told."""
        quota = self.policy.schemes[index].quota
        return [self._score(index, goal) for goal in quota.goals] if quota else ()

    def _score(self, index: int, goal: Goal) -> int | None:
        previous = now = None
        if goal.metric is GoalMetric.MEMORY_PSI_SOME:
            # A share of the time since this scheme looked last, whoever else looked meanwhile.
            previous = self._psi.get(index)
            now = read_psi_sample(self.fs, self.roots, self._now_us)
            if now is not None:
                self._psi[index] = now
        current = read_goal_current(self.fs, self.roots, goal, previous, now)
        return None if current is None else goal_score(current, goal.target)

    def _free_permil(self) -> int | None:
        try:
            info = read_meminfo(self.fs, self.roots)
        except (HostError, OSError):
            return None
        return free_permil(info.get("MemFree", 0), info.get("MemTotal", 0))
