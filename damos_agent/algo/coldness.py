"""How much memory is cold at each age, and how much of it would be needed again. Pure.

Before anything is paged out: memory touched after having been idle for a time would have been a
refault under each age up to that. All of a region that was touched counts, though it may have been
one page at its border: rather too much than too little, and by far too much where regions are
large, since DAMON's borders never rest.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, exp, sqrt
from typing import Final

from damos_agent.algo.idleness import Change, Changes, Idle, Look, compare

_SECOND_US: Final = 1_000_000
_MINUTE_US: Final = 60 * _SECOND_US
_HOUR_US: Final = 60 * _MINUTE_US
_BP: Final = 10_000

AGES_US: Final = tuple(
    seconds * _SECOND_US
    for seconds in (
        *(10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600),
        *(900, 1200, 1800, 2700, 3600),
    )
)
"""The ladder of ages that are told apart, each about half as much again as the one before."""
GAP_US: Final = 2 * _MINUTE_US
"""After so long without a look, what is seen is compared with nothing."""
LEAST_SEEN_US: Final = 10 * _MINUTE_US
FADE_US: Final = 2 * _HOUR_US
"""Mean age of evidence in the long run: at least twice the oldest age, and not much more, or what
happened once would count for ever."""
_Z: Final = 1.645
"""One-sided 95 % point of the normal distribution."""
MOST_BP: Final = 100 * _BP
"""Of the working set a minute: more is not told apart, and where there is none, any return is."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Of one age, fading out: `seen_us` of looking while memory could have been idle as long.

    `back`: bytes touched after having been idle for that or longer, `squares`: those of each look
    squared; `crossed`: bytes that came to be idle for so long.
    """

    seen_us: float = 0.0
    back: float = 0.0
    squares: float = 0.0
    crossed: float = 0.0


_NOTHING: Final = tuple(Totals() for _ in AGES_US)
_NO_IDLE: Final = Idle()


@dataclass(frozen=True, slots=True)
class History:
    """What is kept of all looks; a hundred bytes per piece of idle memory.

    `now_us`: of the last look. `began_us`: nobody has been looking for longer than that, None
    before the first look and when monitoring began anew. `idle`: at the last look. `totals` and
    `cold` bytes are by `AGES_US`. `active` byte-microseconds seen in `active_us` microseconds give
    the working set; both fade out.
    """

    now_us: int = 0
    began_us: int | None = None
    idle: Idle = _NO_IDLE
    totals: tuple[Totals, ...] = _NOTHING
    cold: tuple[int, ...] = (0,) * len(AGES_US)
    active: float = 0.0
    active_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Coldness:
    """Of one age, when memory is paged out once idle for so long.

    `cold_bytes` would be out now; `flow_bytes_per_s` go in steady state; `back_bytes_per_minute`
    come back, `back_bp` of the working set, and with 95 % certainty `at_most_bp`. Looked at for
    `seen_us`, which is `enough` to act on or not; until then rates are too low.
    """

    age_us: int
    cold_bytes: int
    flow_bytes_per_s: int
    back_bytes_per_minute: int
    back_bp: int
    at_most_bp: int
    seen_us: int
    enough: bool


def needed_us(age_us: int) -> int:
    """How long to look before an age may be chosen, beginning when memory can be as old.

    So twice the age from the start on. At least ten minutes, since without any return in that time
    there is less than one in three minutes (95 %): rule of three, Hanley and Lippman-Hand 1983.
    """
    return max(age_us, LEAST_SEEN_US)


def restarted(history: History) -> History:
    """Monitoring began anew, and ages with it: the next look is compared with nothing."""
    return History(totals=history.totals, active=history.active, active_us=history.active_us)


def observe(history: History, look: Look) -> History:
    """The history with one look more.

    Ages shorter than the time since the last look learn nothing of it: two touches may look like
    one. Nor do ages longer than anybody has been looking: what was idle all that time would go
    once, and is no flow.
    """
    apart_us = look.now_us - history.now_us
    if history.began_us is None or not 0 <= apart_us <= GAP_US:
        return _begun(history, look)
    if not apart_us:
        return history
    changes = compare(history.idle, history.now_us, look)
    told = range(
        bisect_left(AGES_US, apart_us),
        bisect_right(AGES_US, history.now_us - history.began_us),
    )
    kept = exp(-apart_us / FADE_US)
    back = _at_or_over(changes.back)
    crossed = _crossed((*changes.stayed, *changes.back))
    totals = tuple(
        _faded(one, kept, apart_us, back[i], crossed[i]) if i in told else _faded(one, kept)
        for i, one in enumerate(history.totals)
    )
    return History(
        look.now_us,
        history.began_us,
        changes.idle,
        totals,
        _cold(changes, look.now_us),
        history.active * kept + _active_bytes(look) * apart_us,
        history.active_us * kept + apart_us,
    )


def working_set_bytes(history: History) -> int:
    """Bytes of regions with an access in the last aggregation before a look, on average over all
    looks, which fade out."""
    return int(history.active / history.active_us) if history.active_us else 0


def estimate(history: History) -> tuple[Coldness, ...]:
    """By `AGES_US`. No figure grows with the age.

    Bytes come back in looks that are few and unequal, as a compound Poisson process: the variance
    of their sum is the sum of their squares (Campbell), and their mean size, weighted by itself, is
    squares / sum. With that as the unit, the bound is the score bound of a Poisson mean.
    """
    working_set = working_set_bytes(history)
    flow = back = at_most = 0.0
    found: list[Coldness] = []
    for age_us, cold, one in reversed(
        list(zip(AGES_US, history.cold, history.totals, strict=True))
    ):
        seen_us = max(one.seen_us, needed_us(age_us))
        # What came back to an older age has come back to this one, whatever has faded out by now.
        flow = max(flow, one.crossed * _SECOND_US / seen_us)
        back = max(back, one.back * _MINUTE_US / seen_us)
        at_most = max(at_most, _bound(one) * _MINUTE_US / seen_us)
        found.append(
            Coldness(
                age_us,
                cold,
                int(flow),
                ceil(back),
                _share_bp(back, working_set),
                _share_bp(at_most, working_set),
                int(one.seen_us),
                one.seen_us >= needed_us(age_us),
            )
        )
    return tuple(reversed(found))


def _begun(history: History, look: Look) -> History:
    oldest_us = max((row.age_us for row in look.rows), default=0)
    began_us = (look.now_us - oldest_us) // _SECOND_US * _SECOND_US
    changes = compare(_NO_IDLE, look.now_us, look)
    cold = _cold(changes, look.now_us)
    totals, active, active_us = history.totals, history.active, history.active_us
    return History(look.now_us, began_us, changes.idle, totals, cold, active, active_us)


def _faded(one: Totals, kept: float, seen_us: int = 0, back: int = 0, crossed: int = 0) -> Totals:
    """What is left of it, and what is new."""
    return Totals(
        one.seen_us * kept + seen_us,
        one.back * kept + back,
        one.squares * kept * kept + back * back,
        one.crossed * kept + crossed,
    )


def _bound(one: Totals) -> float:
    """Bytes that may well have been due to come back when `one.back` did."""
    if one.back <= 0:
        return 0.0
    half = _Z * _Z / 2 * one.squares / one.back
    return one.back + half + sqrt(_Z * _Z * one.squares + half * half)


def _at_or_over(changes: Iterable[Change]) -> list[int]:
    """Bytes by the age they reached, and by all younger ones."""
    return _suffix_sums(
        (bisect_right(AGES_US, reached_us), size) for size, _, reached_us in changes
    )


def _crossed(changes: Iterable[Change]) -> list[int]:
    """Bytes that passed each age."""
    steps = [0] * (len(AGES_US) + 1)
    for size, before_us, reached_us in changes:
        steps[bisect_right(AGES_US, before_us)] += size
        steps[bisect_right(AGES_US, reached_us)] -= size
    return list(accumulate(steps))[:-1]


def _cold(changes: Changes, now_us: int) -> tuple[int, ...]:
    idle = (
        (bisect_right(AGES_US, now_us - piece[4] * _SECOND_US), piece[2] - piece[1])
        for piece in changes.pieces
    )
    return tuple(_suffix_sums(idle))


def _suffix_sums(counts: Iterable[tuple[int, int]]) -> list[int]:
    """Sizes by how many ages they are over, to sums by age."""
    sums = [0] * (len(AGES_US) + 1)
    for over, size in counts:
        sums[over] += size
    return list(accumulate(reversed(sums)))[-2::-1]


def _active_bytes(look: Look) -> int:
    return sum(row.end - row.start for row in look.rows if row.access_bp)


def _share_bp(size: float, working_set: int) -> int:
    if not size:
        return 0
    return min(ceil(size * _BP / working_set), MOST_BP) if working_set else MOST_BP
