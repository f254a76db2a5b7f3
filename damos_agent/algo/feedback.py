"""Goals steer quotas: the further from met, the larger the step (damon_feed_loop_next_input()).

Scores are basis points, 10000 is met and more is too much. `esz_bp` is the quota in bytes,
times 10000.
"""

from __future__ import annotations

from collections.abc import Sequence

from damos_agent.model.policy import Tuner
from damos_agent.model.units import ULONG_MAX

MET_BP = 10_000
_FLOOR = 10_000


def goal_score(current: int, target: int) -> int:
    """How far a goal is met. One with target 0 cannot be missed, so it asks for nothing."""
    return current * MET_BP // target if target else MET_BP


def psi_delta(total_us: int, previous_us: int | None) -> int | None:
    """Stall time since the previous measurement.

    None for the first one, since the total counts from boot; and after the counter began anew.
    """
    if previous_us is None or total_us < previous_us:
        return None
    return total_us - previous_us


def feed(last: int, score: int) -> int:
    """The next input of the loop: last * (1 + (10000 - score) / 10000).

    At most doubles; 200 % of the goal and more drop it to the floor of 10000 at once.
    """
    if score == MET_BP:
        return last
    if score >= 2 * MET_BP:
        return _FLOOR
    change = last * abs(score - MET_BP) // MET_BP
    if score > MET_BP:
        return max(last - change, _FLOOR)
    return min(last + change, ULONG_MAX)


def tune_consist(esz_bp: int, score: int) -> int:
    """Steady control: from any start towards the quota that just meets the goal."""
    return feed(max(esz_bp, _FLOOR), score)


def tune_temporal(quota_bytes: int, score: int) -> int:
    """All that `quota_bytes` (0: unlimited) allows until the goal is met, then nothing."""
    if score >= MET_BP:
        return 0
    return quota_bytes * MET_BP if 0 < quota_bytes <= ULONG_MAX // MET_BP else ULONG_MAX


def tune_quota(tuner: str, esz_bp: int, scores: Sequence[int | None], quota_bytes: int) -> int:
    """One step for the scores of all goals, of which the highest counts: least action wins.

    None (not measured, or for the first time) is neutral: it keeps what was decided before.
    """
    consist = tuner == Tuner.CONSIST
    neutral = MET_BP if consist or esz_bp == 0 else 0
    score = max((neutral if s is None else s for s in scores), default=neutral)
    return tune_consist(esz_bp, score) if consist else tune_temporal(quota_bytes, score)
