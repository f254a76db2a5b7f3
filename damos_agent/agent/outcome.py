"""What schemes did since last asked: counters of the kernel become outcomes of policies."""

from __future__ import annotations

from dataclasses import dataclass, replace

from damos_agent.agent.survey import Machine
from damos_agent.host.goal import PsiSample, read_goal_current, read_psi_sample
from damos_agent.kernel.observe import read_stats
from damos_agent.model.damon import SchemeStats, SlotStats
from damos_agent.model.policy import METRIC_UNITS, Goal, MetricUnit, Mode, Policy, Scheme
from damos_agent.model.status import GoalStatus, SchemeOutcome
from damos_agent.model.userspace import ContextReport


@dataclass(frozen=True, slots=True)
class PolicyOutcome:
    """One policy over `interval_us`; `regions` is a mean, None where it cannot be told.

    `probe`: what told accesses; empty in the kernel. `at_us`: when the counters were read.
    """

    schemes: tuple[SchemeOutcome, ...]
    regions: int | None
    sample_us: int
    aggr_us: int
    interval_us: int
    probe: str = ""
    at_us: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """The counters as last asked for, of which kdamond or monitor process, and when."""

    counted_by: int
    at_us: int
    stats: SlotStats


class OutcomeReader:
    """Remembers the last counters of each policy, so that it can say what changed."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._last: dict[str, _Asked] = {}
        self._psi: PsiSample | None = None
        self._psi_now: PsiSample | None = None

    def begin_round(self, now_us: int) -> None:
        """Sample what all policies of a round share."""
        self._psi = self._psi_now
        self._psi_now = read_psi_sample(self._machine.fs, self._machine.roots, now_us)

    def keep(self, names: frozenset[str]) -> None:
        """Forget policies that are gone."""
        self._last = {name: asked for name, asked in self._last.items() if name in names}

    def read(
        self, policy: Policy, slot: int, kdamond_pid: int, targets: int, now_us: int
    ) -> PolicyOutcome:
        """The outcome of `policy` since the last call. Raises `KernelError` if its kdamond ended.

        The first call after a start covers everything since the start.
        """
        machine = self._machine
        tried = policy.mode is Mode.OBSERVE
        stats = read_stats(
            machine.fs, machine.roots.sysfs, slot, machine.features, machine.sleep, tried=tried
        )
        last = self._turn(policy, _Asked(kdamond_pid, now_us, stats))
        interval_us = now_us - last.at_us if last else 0
        regions = _regions(policy, stats, last.stats if last else None, interval_us, targets)
        schemes = self._schemes(policy, stats, last)
        return PolicyOutcome(
            schemes, regions, stats.sample_us, stats.aggr_us, interval_us, at_us=now_us
        )

    def take(
        self, policy: Policy, told: ContextReport, monitor_pid: int, now_us: int
    ) -> PolicyOutcome:
        """The outcome of a policy that the monitor process serves, by what that reports."""
        stats = SlotStats(told.schemes, told.sample_us, told.aggr_us)
        last = self._turn(policy, _Asked(monitor_pid, now_us, stats))
        interval_us = now_us - last.at_us if last else 0
        schemes = self._schemes(policy, stats, last)
        # A cgroup as a whole has none.
        regions = None if told.granularity == "cgroup" else told.regions
        return PolicyOutcome(
            schemes, regions, told.sample_us, told.aggr_us, interval_us, told.probe, now_us
        )

    def _turn(self, policy: Policy, now: _Asked) -> _Asked | None:
        """Remember these counters; the last ones, if the same has counted them."""
        last = self._last.get(policy.name)
        self._last[policy.name] = now
        return last if last is not None and last.counted_by == now.counted_by else None

    def _schemes(
        self, policy: Policy, stats: SlotStats, last: _Asked | None
    ) -> tuple[SchemeOutcome, ...]:
        before = last.stats.schemes if last else ()
        found = [
            self._scheme(
                index, scheme, stats.schemes[index], before[index] if index < len(before) else None
            )
            for index, scheme in enumerate(policy.schemes)
            if index < len(stats.schemes)
        ]
        if policy.mode is Mode.OBSERVE:
            # What only counts has no quota, and the one it would have is not spent.
            found = [replace(one, effective_bytes=None) for one in found]
        return tuple(found)

    def _scheme(
        self, index: int, scheme: Scheme, now: SchemeStats, before: SchemeStats | None
    ) -> SchemeOutcome:
        then = before or SchemeStats()
        # A scheme that was replaced counts from zero again.
        if now.nr_tried < then.nr_tried or now.sz_tried < then.sz_tried:
            then = SchemeStats()
        goals = scheme.quota.goals if scheme.quota else ()
        return SchemeOutcome(
            index=index,
            action=scheme.action.value,
            nr_tried=now.nr_tried,
            sz_tried=now.sz_tried,
            nr_applied=now.nr_applied,
            sz_applied=now.sz_applied,
            qt_exceeds=now.qt_exceeds,
            nr_tried_delta=now.nr_tried - then.nr_tried,
            sz_tried_delta=now.sz_tried - then.sz_tried,
            nr_applied_delta=now.nr_applied - then.nr_applied,
            sz_applied_delta=now.sz_applied - then.sz_applied,
            qt_exceeds_delta=now.qt_exceeds - then.qt_exceeds,
            quota_bytes=scheme.quota.size if scheme.quota else 0,
            effective_bytes=now.effective_bytes,
            matched_bytes=now.tried_bytes,
            goals=tuple(self._goal(goal) for goal in goals),
        )

    def _goal(self, goal: Goal) -> GoalStatus:
        unit = METRIC_UNITS.get(goal.metric, MetricUnit.SHARE)
        current = read_goal_current(
            self._machine.fs, self._machine.roots, goal, self._psi, self._psi_now
        )
        return GoalStatus(goal.metric.value, unit.value, goal.target, current)


def _regions(
    policy: Policy, now: SlotStats, before: SlotStats | None, interval_us: int, targets: int
) -> int | None:
    """Mean number of regions: what the census scheme tried, by the number of its rounds.

    7.0+ counts rounds (`nr_snapshots`, once per target); before, time does.
    """
    index = len(policy.schemes)
    if before is None or index >= len(now.schemes) or index >= len(before.schemes):
        return None
    tried = now.schemes[index].nr_tried - before.schemes[index].nr_tried
    told, then = now.schemes[index].nr_snapshots, before.schemes[index].nr_snapshots
    if told is not None and then is not None:
        rounds = (told - then) / max(targets, 1)
    else:
        rounds = interval_us / max(now.aggr_us, 1)
    return round(tried / rounds) if rounds >= 1 and tried >= 0 else None
