"""How much a scheme may do: charge windows, and the effective size of each. Pure.

Law: damos_adjust_quota() and damos_set_effective_quota(), 7.3. Unlike in the kernel, whose clock
ticks coarsely, the time budget counts the nanoseconds that actions really took, and ends a window
by itself when they are used up: the throughput, from which bytes are worked out, may be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from damos_agent.algo.actor import Applied
from damos_agent.algo.feedback import tune_quota
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.units import ULONG_MAX

_UNTIMED_BYTES_PER_MS = 4 << 20


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a full quota stopped: the next window goes on behind `address` of `process`."""

    process: Placement
    address: int


@dataclass(frozen=True, slots=True)
class QuotaState:
    """`esz`: bytes this window may charge; `charged`: those it has; `started_us`: its begin.

    `esz_bp` is the goals' part of it times 10000. `total_charged` bytes of closed windows and
    `total_ns` of all actions give the throughput; they are never reset. `exceeds`: windows that
    ended full. Regions below `min_score` wait for better ones. What went beyond a window, as of a
    huge page all goes, is `charged` to the next. `left_ns`: of a window's time; `trial_bytes`: of
    those charged, they tell nothing of the throughput.
    """

    started_us: int | None = None
    esz: int = 0
    esz_bp: int = 0
    charged: int = 0
    total_charged: int = 0
    total_ns: int = 0
    exceeds: int = 0
    min_score: int = 0
    resume: Resume | None = None
    left_ns: int | None = None
    trial_bytes: int = 0


def is_limited(spec: SchemeSpec) -> bool:
    """Whether there is a quota at all."""
    return bool(spec.quota_bytes or spec.quota_ms or spec.goals)


def is_full(state: QuotaState, unit: int) -> bool:
    """Whether not even one `unit` is left in this window, or no time; of limited schemes only."""
    if state.left_ns is not None and state.left_ns <= 0:
        return True
    return state.esz - state.charged < max(unit, 1)


def adjust(
    spec: SchemeSpec,
    state: QuotaState,
    now_us: int,
    unit: int,
    scores: Callable[[], Sequence[int | None]] = tuple,
) -> QuotaState:
    """Begin a new window if the old one is over. `scores` measures the goals, once per window."""
    if not is_limited(spec):
        return state
    if state.started_us is not None:
        end_us = state.started_us + spec.reset_interval_ms * 1_000
        if state.started_us <= now_us < end_us:
            return state
        state = _closed(state, unit)
    if spec.goals:
        esz_bp = tune_quota(spec.goal_tuner, state.esz_bp, scores(), spec.quota_bytes)
        state = replace(state, esz_bp=esz_bp)
    left_ns = spec.quota_ms * 1_000_000 if spec.quota_ms else None
    esz = effective_bytes(spec, state, unit)
    return replace(state, started_us=now_us, esz=esz, left_ns=left_ns)


def effective_bytes(spec: SchemeSpec, state: QuotaState, unit: int) -> int:
    """What a window may charge: the least of what size, time and goals allow."""
    if not spec.quota_ms and not spec.goals:
        return spec.quota_bytes
    esz = state.esz_bp // 10_000 if spec.goals else ULONG_MAX
    if spec.quota_ms:
        esz = min(esz, max(bytes_per_ms(state) * spec.quota_ms, unit))
    return min(esz, spec.quota_bytes) if spec.quota_bytes else esz


def bytes_per_ms(state: QuotaState) -> int:
    """The throughput of the action as measured, or a guess while nothing has been timed."""
    if not state.total_ns or not state.total_charged:
        return _UNTIMED_BYTES_PER_MS
    return min(state.total_charged * 1_000_000 // state.total_ns, ULONG_MAX)


def charge_of(spec: SchemeSpec, size: int, applied: int) -> int:
    """Bytes to charge for having tried `size`: those it failed on may be cheaper."""
    if not spec.fail_charge_denom or applied > size:
        return size
    return applied + (size - applied) * spec.fail_charge_num // spec.fail_charge_denom


def charge(spec: SchemeSpec, state: QuotaState, size: int, done: Applied) -> QuotaState:
    """After an action on `size` bytes, of which that is what came."""
    left_ns = None if state.left_ns is None else state.left_ns - done.took_ns
    return replace(
        state,
        charged=state.charged + charge_of(spec, size, done.applied),
        total_ns=state.total_ns + done.took_ns - done.trial_ns,
        left_ns=left_ns,
        trial_bytes=state.trial_bytes + done.trial_bytes,
    )


def _closed(state: QuotaState, unit: int) -> QuotaState:
    debt = max(state.charged - state.esz, 0)
    return replace(
        state,
        exceeds=state.exceeds + is_full(state, unit),
        total_charged=state.total_charged + max(state.charged - debt - state.trial_bytes, 0),
        charged=debt,
        trial_bytes=0,
    )
