"""Do no harm: slow down, pause, and hold off when any signal says that the workload pays. Pure.

Signals are shares of what is allowed. The worst one counts, and one that cannot be read is no good
news. Memory pressure alone is blind: swapping in from zram stalls nobody by PSI's account.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from damos_agent.algo.backoff import doubled_us

_BP: Final = 10_000
_SECOND_US: Final = 1_000_000
_SLOW_BP: Final = 7_000
_CALM_BP: Final = 5_000
_TRIP_BP: Final = 40_000
"""So far over is no matter of pace."""
_CALM_US: Final = 10 * _SECOND_US
"""Calm for so long, a pause ends and the allowance doubles again."""
_PAUSES_TO_TRIP: Final = 3
_PAUSES_WITHIN_US: Final = 600 * _SECOND_US
_LEAST_BP: Final = 625
_FIRST_HOLD_US: Final = 60 * _SECOND_US
_MOST_HOLD_US: Final = 3600 * _SECOND_US
_FORGET_US: Final = 3600 * _SECOND_US
"""So long without a trip, and the next hold-off is shorter again."""


class Stage(StrEnum):
    """How much is allowed: everything, a share of the quota, or nothing until it is calm or, after
    a trip, until the hold-off is over."""

    FREE = "free"
    SLOW = "slow"
    PAUSED = "paused"
    TRIPPED = "tripped"

    @property
    def acts(self) -> bool:
        """Whether schemes may act."""
        return self in (Stage.FREE, Stage.SLOW)


@dataclass(frozen=True, slots=True)
class Signal:
    """`level_bp`: of what is allowed, 10000 is all of it; None: it could not be read.

    `text` tells both in people's units.
    """

    name: str
    level_bp: int | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Guard:
    """`share_bp` of the quota is allowed, 0 while nothing is. `signal`: what limits, and `why`.

    `since_us`: of the stage; `until_us`: of the hold-off; `calm_us`: since when it is calm;
    `pauses`: when they began, lately; `trips`: lately; `tripped_us`: the last one.
    """

    stage: Stage = Stage.FREE
    share_bp: int = _BP
    since_us: int = 0
    until_us: int = 0
    calm_us: int | None = None
    pauses: tuple[int, ...] = ()
    trips: int = 0
    tripped_us: int = 0
    signal: str = ""
    why: str = ""


def hold_us(trips: int) -> int:
    """How long after so many trips before."""
    return doubled_us(_FIRST_HOLD_US, trips, _MOST_HOLD_US)


def guard(state: Guard, signals: Iterable[Signal], now_us: int) -> Guard:
    """The next state. Fast down: at the first look that shows a breach; slow up: by calm."""
    state = _forget(state, now_us)
    signal = _worst(signals)
    if signal is None:
        return state
    level = signal.level_bp
    if level is not None and level >= _BP and state.stage.acts:
        return _stop(state, signal, level, now_us)
    calm = level is not None and level < _CALM_BP
    calm_us = (state.calm_us if state.calm_us is not None else now_us) if calm else None
    state = replace(state, calm_us=calm_us)
    if calm_us is not None and now_us - calm_us >= _CALM_US and now_us >= state.until_us:
        return _relax(state, now_us)
    if state.stage.acts and (level is None or level >= _SLOW_BP):
        return _slow(state, signal, now_us)
    return state


def _worst(signals: Iterable[Signal]) -> Signal | None:
    """Unknown is as bad as close to the limit, no worse."""
    return max(signals, key=lambda s: _SLOW_BP if s.level_bp is None else s.level_bp, default=None)


def _stop(state: Guard, signal: Signal, level: int, now_us: int) -> Guard:
    pauses = (*state.pauses, now_us)
    trips = len(pauses) >= _PAUSES_TO_TRIP or level >= _TRIP_BP
    state = replace(
        state,
        stage=Stage.TRIPPED if trips else Stage.PAUSED,
        share_bp=0,
        since_us=now_us,
        calm_us=None,
        pauses=() if trips else pauses,
        signal=signal.name,
        why=signal.text,
    )
    if not trips:
        return state
    until_us = now_us + hold_us(state.trips)
    return replace(state, until_us=until_us, trips=state.trips + 1, tripped_us=now_us)


def _slow(state: Guard, signal: Signal, now_us: int) -> Guard:
    share_bp = max(state.share_bp // 2, _LEAST_BP)
    if share_bp == state.share_bp:
        return state  # the reason stays the one that brought it here
    since_us = state.since_us if state.stage is Stage.SLOW else now_us
    return replace(
        state,
        stage=Stage.SLOW,
        share_bp=share_bp,
        since_us=since_us,
        calm_us=None,
        signal=signal.name,
        why=signal.text or f"{signal.name} cannot be read",
    )


def _relax(state: Guard, now_us: int) -> Guard:
    """From nothing to the least share, and by doubling to everything."""
    if state.stage is Stage.FREE:
        return state
    share_bp = min(max(state.share_bp * 2, _LEAST_BP), _BP)
    if share_bp == _BP:
        state = replace(state, stage=Stage.FREE, since_us=now_us, signal="", why="")
    elif state.stage is not Stage.SLOW:
        state = replace(state, stage=Stage.SLOW, since_us=now_us)
    return replace(state, share_bp=share_bp, calm_us=now_us)


def _forget(state: Guard, now_us: int) -> Guard:
    pauses = tuple(at for at in state.pauses if now_us - at < _PAUSES_WITHIN_US)
    if state.trips and now_us - state.tripped_us >= _FORGET_US + hold_us(state.trips - 1):
        return replace(state, pauses=pauses, trips=state.trips - 1, tripped_us=now_us)
    return replace(state, pauses=pauses) if pauses != state.pauses else state
