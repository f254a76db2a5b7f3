"""What came of a policy in one interval, with what every decision was made from. Pure.

A decision can be made again from its own record: `recompute` gives what was decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from damos_agent.algo.goals import allowed, score
from damos_agent.algo.guard import Guard, Signal, Stage, guard
from damos_agent.algo.steer import Bounds, Reason, Steering, steer, worst
from damos_agent.model.policy import Goal
from damos_agent.model.status import SchemeOutcome

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Input:
    """One number that was read: `value` in `unit`, None where it could not be; `source`: where."""

    name: str
    value: int | None
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class GuardDecision:
    """A guard's step at `at_us` since boot."""

    at_us: int
    before: Guard
    signals: tuple[Signal, ...]
    after: Guard


@dataclass(frozen=True, slots=True)
class GoalValue:
    """A goal and what its metric was, in the unit of its target."""

    goal: Goal
    current: int | None


@dataclass(frozen=True, slots=True)
class QuotaDecision:
    """A step of the agent's tuner: `used` bytes of `before.quota` in a quota interval.

    `size` is what came of it: `after.quota`, or `push` times the `left` bytes that are missing.
    """

    at_us: int
    scheme: int
    goals: tuple[GoalValue, ...]
    used: int
    bounds: Bounds
    before: Steering
    after: Steering
    left: int | None
    push: int
    size: int


Decision = GuardDecision | QuotaDecision


@dataclass(frozen=True, slots=True)
class Effect:
    """Bytes tried and applied by all schemes, pages needed again (None: not counted), bytes
    resident at the begin and the end.
    """

    tried: int
    applied: int
    refaults: int | None
    resident_before: int | None
    resident_after: int | None


@dataclass(frozen=True, slots=True)
class Savings:
    """Bytes at the end of the interval. `gross`: of the target in swap; `backing`: memory that zram
    and zswap take to hold it; `overhead`: of the agent and its monitor, shared evenly.
    """

    gross: int
    backing: int
    overhead: int

    @property
    def net(self) -> int:
        """What was really gained; less than nothing where holding it costs more."""
        return self.gross - self.backing - self.overhead


@dataclass(frozen=True, slots=True)
class OutcomeRecord:
    """`wall`: seconds since the epoch; `at_us`: since boot, at the end of `interval_us`.

    `limited_by` and `reason`: why no more was done; `left_out`: decisions that are too many to
    keep; `cpu_us` of kdamond or monitor and `agent_cpu_us` of the agent within the interval;
    `net`: of `savings`, None where these are not known.
    """

    policy: str
    digest: str
    mode: str
    state: str
    backend: str
    wall: float
    at_us: int
    interval_us: int
    limited_by: str
    reason: str
    inputs: tuple[Input, ...]
    decisions: tuple[Decision, ...]
    effect: Effect
    cpu_us: int | None
    agent_cpu_us: int
    savings: Savings | None
    net: int | None
    schemes: tuple[SchemeOutcome, ...]
    left_out: int = 0
    version: int = VERSION


def recompute(decision: Decision) -> Guard | Steering:
    """What is decided from what the record holds."""
    if isinstance(decision, GuardDecision):
        return guard(decision.before, decision.signals, decision.at_us)
    scores = [score(one.goal, one.current) for one in decision.goals]
    return steer(decision.before, worst(scores), decision.used, decision.bounds)


def is_true(decision: Decision) -> bool:
    """Whether it comes out the same again."""
    if recompute(decision) != decision.after:
        return False
    if isinstance(decision, GuardDecision):
        return True
    return allowed(decision.after.quota, decision.left, decision.push) == decision.size


def disagreements(records: Sequence[OutcomeRecord]) -> Iterator[tuple[OutcomeRecord, Decision]]:
    """Decisions that come out otherwise, or do not follow from the one before."""
    last: dict[tuple[str, int], Guard | Steering] = {}
    for record in records:
        if record.left_out:
            last = {key: state for key, state in last.items() if key[0] != record.policy}
        for decision in record.decisions:
            key = (record.policy, decision.scheme if isinstance(decision, QuotaDecision) else -1)
            follows = last.get(key, decision.before) == decision.before or _is_new(decision.before)
            if not (follows and is_true(decision)):
                yield record, decision
            last[key] = decision.after


def _is_new(state: Guard | Steering) -> bool:
    """Begun anew: after a restart, an edit or `damosctl resume`."""
    if isinstance(state, Guard):
        return state.stage is Stage.FREE
    return state.reason is Reason.SEED


def limit_of(
    schemes: Sequence[SchemeOutcome], held: str, stage: Guard, steering: Sequence[Steering]
) -> tuple[str, str]:
    """(code, in words): the first of these that kept the schemes from doing more.

    `held`: why all is stopped by a switch.
    """
    if held:
        return "switch", held
    if not stage.stage.acts:
        return f"guard:{stage.signal}", stage.why
    if stage.stage is Stage.SLOW:
        return f"guard:{stage.signal or 'recovering'}", stage.why or "slow after a pause"
    cut = [one for one in steering if one.reason is not Reason.UNUSED]
    if cut:
        return f"goal:{cut[0].reason.value}", f"the agent tunes a quota to {cut[0].quota} bytes"
    for one in schemes:
        if one.qt_exceeds_delta:
            times = one.qt_exceeds_delta
            return "quota", f"the quota of scheme {one.index} was used up {times} times"
    if not any(one.nr_tried_delta for one in schemes):
        return "pattern", "no memory matched"
    return "none", "everything that matched was done"
