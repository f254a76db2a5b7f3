"""The agent's own tuner: what a scheme may do in its next window, by how its goals stand. Pure.

For metrics the kernel does not measure, or measures badly. Unlike damon_feed_loop_next_input() it
starts from a seed instead of a byte, remembers where too much began (the knee, as TCP does, RFC
5681), does not raise a quota that is not used up, and cuts without having input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from damos_agent.algo.feedback import MET_BP

_BAND_BP: Final = 1_000
"""From so much below a goal up to the goal nothing changes."""
_GENTLE: Final = 4
"""Above the knee a raise is this much smaller."""
_HARDEST_CUT: Final = 8
_FALLING_BP: Final = 8_000
"""A score of less than this share of the one before is on its way down already."""
_UNUSED_DECAY: Final = 8
_LEAST_RAISE: Final = 64
"""A raise is at least this part of the seed, so that nothing has to grow from a byte."""


class Reason(StrEnum):
    """Why a window's quota is what it is."""

    SEED = "seed"
    BELOW_GOAL = "below_goal"
    MET = "met"
    OVER_GOAL = "over_goal"
    FALLING = "falling"
    LAGGING = "lagging"
    UNUSED = "unused"
    NO_INPUT = "no_input"
    AT_CAP = "at_cap"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes a window: not below `floor`, not above `cap`; the first one gets `seed`.

    `lag`: so many windows pass until the metric shows what a change did.
    """

    floor: int
    cap: int
    seed: int
    lag: int = 0


@dataclass(frozen=True, slots=True)
class Steering:
    """`quota`: bytes of the window that begins. `knee`: it may double up to there.

    `waits`: windows until the next raise; `score_bp`: the last one; `reason`: of this quota.
    """

    quota: int
    knee: int
    waits: int = 0
    score_bp: int | None = None
    reason: Reason = Reason.SEED


def worst(scores: Sequence[int | None]) -> int | None:
    """The goal furthest over counts: least action wins. Nothing is known unless all are."""
    known = [score for score in scores if score is not None]
    return max(known, default=None) if len(known) == len(scores) else None


def begin(bounds: Bounds) -> Steering:
    """Of the first window."""
    quota = max(min(bounds.seed, bounds.cap), bounds.floor)
    return Steering(quota, bounds.cap, bounds.lag)


def steer(state: Steering, score_bp: int | None, used: int, bounds: Bounds) -> Steering:
    """The next window's, after one in which `used` bytes were charged.

    `score_bp`: of the goals; 10000 is met, more is too much, None is unknown or stale.
    """
    quota, reason = _decide(state, score_bp, used, bounds)
    cut = quota < state.quota and reason in (Reason.OVER_GOAL, Reason.NO_INPUT)
    knee = quota if cut else max(state.knee, quota)
    quota = max(min(quota, bounds.cap), bounds.floor)
    if reason is Reason.BELOW_GOAL and quota == bounds.cap:
        reason = Reason.AT_CAP
    changed = cut or quota > state.quota
    waits = bounds.lag if changed else max(state.waits - 1, 0)
    return Steering(quota, max(min(knee, bounds.cap), bounds.floor), waits, score_bp, reason)


def lower_to(state: Steering, share_bp: int, bounds: Bounds) -> Steering:
    """A guard allows a share of the quota only: from there it has to grow again."""
    quota = max(state.quota * share_bp // MET_BP, bounds.floor)
    return replace(state, quota=quota, knee=quota, waits=bounds.lag)


def _decide(state: Steering, score: int | None, used: int, bounds: Bounds) -> tuple[int, Reason]:
    quota = state.quota
    if score is None:
        return quota // 2, Reason.NO_INPUT
    if score > MET_BP:
        return _over(state, score)
    if score >= MET_BP - _BAND_BP:
        return quota, Reason.MET
    if used * 2 < quota:
        # What is not used up cannot be judged by; kept high, it would all be spent at once one day.
        decayed = max(quota - quota // _UNUSED_DECAY, used * 2)
        return max(decayed, min(quota, bounds.seed)), Reason.UNUSED
    if state.waits:
        return quota, Reason.LAGGING
    least = quota + max(bounds.seed // _LEAST_RAISE, 1)
    return max(_raised(state, score), least), Reason.BELOW_GOAL


def _over(state: Steering, score: int) -> tuple[int, Reason]:
    last = state.score_bp
    if last is not None and last > MET_BP and score * MET_BP < last * _FALLING_BP:
        return state.quota, Reason.FALLING
    least = -(-state.quota // _HARDEST_CUT)
    return max(state.quota * MET_BP // score, least), Reason.OVER_GOAL


def _raised(state: Steering, score: int) -> int:
    missing = MET_BP - score
    if state.quota < state.knee:
        return min(state.quota + state.quota * missing // MET_BP, state.knee)
    return state.quota + state.quota * missing // MET_BP // _GENTLE
