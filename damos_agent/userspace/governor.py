"""What monitoring and acting may cost: intervals and region counts that hold a budget. Pure.

Nothing here depends on how much memory is watched: a tick's cost is measured, and answered with
fewer ticks, then with fewer regions, then with longer aggregation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

_BP: Final = 10_000
_AVERAGED_TICKS: Final = 50  # more than an aggregation, which makes one tick of many dearer
_SHIFT_TICKS: Final = 4  # so many ticks in a row far above the average are no accident
_SHIFT: Final = 1.5
_DEADBAND: Final = 0.02
_RELAX: Final = 0.97  # a tick; going up is immediate
_SETTLE_TICKS: Final = 60
_GROW_BELOW: Final = 0.35  # of what would halve the regions again
_SAMPLES_MIN: Final = 5
_LONGEST_ROUND_US: Final = 60_000_000
_SECOND_US: Final = 1_000_000
_BURST_US: Final = 10 * _SECOND_US


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the policy asks for; times in µs."""

    sample_us: int
    aggr_us: int
    min_regions: int
    max_regions: int


@dataclass(frozen=True, slots=True)
class Effective:
    """What to run with now. `stretched`: sample interval by the wanted one; 1.0 as asked for."""

    sample_us: int
    aggr_us: int
    max_regions: int
    stretched: float = 1.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """How often to walk a process's mappings, and why; `refused`: not at all."""

    interval_us: int
    refused: bool = False
    reason: str = ""


class Governor:
    """Fed after every tick; `effective` is what to run with until the next.

    `budget_bp`: own CPU time for monitoring, of one core. `stall_us`: how long one step may keep
    a process from changing its mappings. `action_bp`: CPU time for actions, of one core.
    """

    def __init__(
        self, wanted: Wanted, budget_bp: int = 100, stall_us: int = 20_000, action_bp: int = 200
    ) -> None:
        self._wanted = wanted
        self._budget_bp = budget_bp
        self._stall_us = stall_us
        self._action_bp = action_bp
        self._cost_us = 0.0
        self._averaged = 0
        self._dear_ticks = 0
        self._settled_ticks = 0
        self._credit_us = 0.0
        self.effective = Effective(wanted.sample_us, wanted.aggr_us, wanted.max_regions)

    def tick(self, cpu_ns: int, wall_ns: int, predicted_stall_us: int = 0) -> Effective:
        """One tick took `cpu_ns` of our CPU; `wall_ns` have passed since the tick before."""
        self._earn(wall_ns)
        self._average(cpu_ns / 1_000)
        needed_us = max(self._affordable_us(), self._bearable_us(predicted_stall_us))
        self._settled_ticks += 1
        regions = self._regions(needed_us)
        sample_us = self._sample_us(max(needed_us, float(self._wanted.sample_us)))
        self.effective = self._publish(sample_us, regions)
        return self.effective

    def plan_round(self, interval_us: int, cpu_us: int, stall_us: int) -> RoundPlan:
        """How often a walk of that cost may be done; `interval_us` is what is wanted.

        A stall beyond the budget must be the rarer the longer it is: its square.
        """
        affordable = cpu_us * _BP // self._budget_bp
        bearable = self._bearable_us(stall_us)
        if bearable > _LONGEST_ROUND_US:
            return RoundPlan(_LONGEST_ROUND_US, refused=True, reason=self._refusal(stall_us))
        planned = max(interval_us, affordable, int(bearable))
        if planned <= interval_us:
            return RoundPlan(interval_us)
        why = (
            f"a walk stalls the process for {stall_us / 1000:.0f} ms, over the budget of "
            f"{self._stall_us / 1000:.0f} ms"
            if bearable >= affordable
            else f"a walk takes {cpu_us / 1000:.0f} ms of CPU, the budget is {self._share()}"
        )
        return RoundPlan(planned, reason=f"{why}: once in {planned / 1e6:.1f} s")

    def round_budget_us(self) -> int:
        """Time for the next round of actions, half of which is pauses; 0 while in debt."""
        return max(int(2 * self._credit_us), 0)

    def acted(self, took_ns: int) -> None:
        """Actions took that much of our CPU."""
        self._credit_us -= took_ns / 1_000

    def _earn(self, wall_ns: int) -> None:
        share = self._action_bp / _BP
        earned = self._credit_us + wall_ns / 1_000 * share
        self._credit_us = min(earned, _BURST_US * share)

    def _average(self, cost_us: float) -> None:
        """A plain mean at first and after a shift, then a moving one."""
        self._dear_ticks = self._dear_ticks + 1 if cost_us > _SHIFT * self._cost_us else 0
        if self._dear_ticks >= _SHIFT_TICKS:
            self._averaged = 0
        self._averaged = min(self._averaged + 1, _AVERAGED_TICKS)
        self._cost_us += (cost_us - self._cost_us) / self._averaged

    def _affordable_us(self) -> float:
        return self._cost_us * _BP / self._budget_bp

    def _bearable_us(self, stall_us: int) -> float:
        if stall_us <= self._stall_us:
            return 0.0
        return float(_SECOND_US * (stall_us / max(self._stall_us, 1)) ** 2)

    def _regions(self, needed_us: float) -> int:
        """Half as many when ticks get too rare, slowly more again; rarely, to see what it did."""
        now = self.effective.max_regions
        limit_us = self._wanted.aggr_us / _SAMPLES_MIN
        if self._settled_ticks < _SETTLE_TICKS:
            return now
        if needed_us > limit_us:
            wanted = max(now // 2, self._wanted.min_regions)
        elif needed_us < limit_us * _GROW_BELOW:
            wanted = min(now + max(now // 4, 1), self._wanted.max_regions)
        else:
            return now
        if wanted != now:
            self._settled_ticks = self._averaged = 0
        return wanted

    def _sample_us(self, needed_us: float) -> int:
        now = self.effective.sample_us
        if needed_us > now * (1 + _DEADBAND):
            return int(needed_us)
        if needed_us < now * (1 - _DEADBAND) or needed_us <= self._wanted.sample_us:
            return int(max(needed_us, now * _RELAX))
        return now

    def _publish(self, sample_us: int, regions: int) -> Effective:
        wanted = self._wanted
        found = Effective(
            sample_us,
            max(wanted.aggr_us, _SAMPLES_MIN * sample_us),
            regions,
            sample_us / wanted.sample_us,
        )
        if sample_us == wanted.sample_us and regions == wanted.max_regions:
            return found
        return replace(found, reason=self._reason(found))

    def _reason(self, found: Effective) -> str:
        text = (
            f"a tick takes {self._cost_us / 1000:.1f} ms of CPU, the budget is "
            f"{self._share()}: sampling every {found.sample_us / 1000:.0f} ms"
        )
        if found.max_regions < self._wanted.max_regions:
            text += f", at most {found.max_regions} regions"
        if found.aggr_us > self._wanted.aggr_us:
            text += f", aggregating every {found.aggr_us / 1e6:.1f} s"
        return text

    def _share(self) -> str:
        return f"{self._budget_bp / 100:g} % of a core"

    def _refusal(self, stall_us: int) -> str:
        most_us = self._stall_us * (_LONGEST_ROUND_US / _SECOND_US) ** 0.5
        return (
            f"a walk would stall the process for {stall_us / 1000:.0f} ms; the budget of "
            f"{self._stall_us / 1000:.0f} ms bears {most_us / 1000:.0f} ms once in "
            f"{_LONGEST_ROUND_US // _SECOND_US} s, no more"
        )
