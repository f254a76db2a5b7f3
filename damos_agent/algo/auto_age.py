"""The age at which memory is cold enough to be acted on, chosen by what would come back; and what
a scheme would do. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from damos_agent.algo.coldness import Coldness
from damos_agent.algo.idleness import Row
from damos_agent.model.policy import Pattern, Quota

DEFAULT_BUDGET_BP: Final = 20
"""Of the working set, that may come back in a minute."""
_WELL_WITHIN_BP: Final = 7_000
"""Of the budget: so little must come back at a younger age."""
_HOLD_US: Final = 600_000_000
"""For so long, before it is taken."""
_BP: Final = 10_000
_SECOND_US: Final = 1_000_000
_MINUTE_S: Final = 60


class Reason(StrEnum):
    """Why there is that age, or none.

    `learning`: whether an age keeps within the budget is not known yet, of some or all of them;
    `settling`: one does, but not by enough or not for long enough to begin again.
    """

    LEARNING = "learning"
    SETTLING = "settling"
    OVER_BUDGET = "over_budget_everywhere"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Choice:
    """Memory idle for `age_us` is acted on, None: none is. `since_us`: of the choice.

    `next_us`: a younger age that has been well within the budget since `next_since_us`; `moves`:
    choices so far.
    """

    age_us: int | None = None
    reason: Reason = Reason.LEARNING
    since_us: int = 0
    next_us: int | None = None
    next_since_us: int = 0
    moves: int = 0


def choose(
    state: Choice,
    estimates: Sequence[Coldness],
    now_us: int,
    budget_bp: int = DEFAULT_BUDGET_BP,
) -> Choice:
    """The youngest age within the budget, by estimates in ascending order of age.

    Only ages looked at for long enough are chosen. To an older one, or none, at once; to a younger
    one after it was well within the budget for a while. The very first choice waits for nothing.
    """
    fitting = [one for one in estimates if one.enough and one.at_most_bp <= budget_bp]
    now = state.age_us
    if now is not None and all(one.age_us != now for one in fitting):
        older = (one.age_us for one in fitting if one.age_us > now)
        return _moved(state, next(older, None), _reason(estimates, fitting), now_us)
    if not state.moves and fitting:
        return _moved(state, fitting[0].age_us, Reason.OK, now_us)
    calm = [one for one in fitting if one.at_most_bp * _BP <= budget_bp * _WELL_WITHIN_BP]
    younger = next((one.age_us for one in calm if now is None or one.age_us < now), None)
    state = _waiting(state, younger, [one.age_us for one in calm], now_us)
    if state.next_us is not None and now_us - state.next_since_us >= _HOLD_US:
        return _moved(state, state.next_us, Reason.OK, now_us)
    reason = Reason.OK if now is not None else _reason(estimates, fitting)
    return replace(state, reason=reason)


def _waiting(state: Choice, younger_us: int | None, calm: Sequence[int], now_us: int) -> Choice:
    """An older age has been well within for as long as a younger one; not the other way round.

    One that is well within no more, as what was seen of it fades, is not waited for.
    """
    if younger_us is None:
        return replace(state, next_us=None, next_since_us=0)
    if state.next_us is None or max(state.next_us, younger_us) not in calm:
        return replace(state, next_us=younger_us, next_since_us=now_us)
    return replace(state, next_us=max(state.next_us, younger_us))


def _moved(state: Choice, age_us: int | None, reason: Reason, now_us: int) -> Choice:
    reason = reason if age_us is None else Reason.OK
    return Choice(age_us, reason, now_us, moves=state.moves + 1)


def _reason(estimates: Sequence[Coldness], fitting: Sequence[Coldness]) -> Reason:
    """Why there is no age."""
    if fitting:
        return Reason.SETTLING
    learned = estimates and all(one.enough for one in estimates)
    return Reason.OVER_BUDGET if learned else Reason.LEARNING


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a scheme would do. Matching now: `matched_bytes`, `first_bytes` within the first quota.

    Later on `bytes_per_s` at most, after the quota; of what is paged out then,
    `back_bytes_per_minute`, `back_bp` of the working set, would be needed again: None where nobody
    can tell, as for memory that is not idle, or idle for less than the youngest age of the ladder.
    A quota of time or by goals is not known in bytes, and so not taken into account.
    """

    matched_bytes: int
    first_bytes: int
    bytes_per_s: int
    back_bytes_per_minute: int | None = None
    back_bp: int | None = None


def predict(
    rows: Iterable[Row],
    estimates: Sequence[Coldness],
    pattern: Pattern,
    quota: Quota | None = None,
    apply_us: int = _SECOND_US,
) -> Prediction:
    """For a scheme applied every `apply_us`, without its filters and watermarks.

    By the next younger age of the ladder: rather too much than too little.
    """
    matched = sum(row.end - row.start for row in rows if matches(pattern, row))
    # An action makes ages 0, so the same memory matches again when it has reached the least age.
    again_us = max(pattern.age_min_us, apply_us, 1)
    known = _known(estimates, pattern)
    rate = matched * _SECOND_US // again_us if known is None else known.flow_bytes_per_s
    first = matched
    limited = rate
    if quota is not None and quota.size:
        first = min(matched, quota.size)
        limited = min(rate, quota.size * _SECOND_US // max(quota.interval_us, apply_us, 1))
    if known is None:
        return Prediction(matched, first, limited)
    # What does not go cannot come back.
    back, back_bp = known.back_bytes_per_minute, known.back_bp
    if limited < rate:
        back, back_bp = back * limited // rate, -(-back_bp * limited // rate)
    return Prediction(matched, first, limited, back, back_bp)


def matches(pattern: Pattern, row: Row) -> bool:
    """Whether a scheme with that pattern is about that region."""
    return (
        _within(row.end - row.start, pattern.size_min, pattern.size_max)
        and _within(row.access_bp, pattern.access_min_bp, pattern.access_max_bp)
        and _within(row.age_us, pattern.age_min_us, pattern.age_max_us)
    )


def _within(value: int, least: int, most: int | None) -> bool:
    return least <= value and (most is None or value <= most)


def _known(estimates: Sequence[Coldness], pattern: Pattern) -> Coldness | None:
    if pattern.access_max_bp != 0:
        return None
    younger = [one for one in estimates if one.age_us <= pattern.age_min_us]
    return younger[-1] if younger else None
