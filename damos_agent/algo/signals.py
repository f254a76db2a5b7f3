"""How close a policy is to its limits: looks at counters become signals for its guard. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from damos_agent.algo.guard import Signal
from damos_agent.model.policy import Limits
from damos_agent.model.units import format_share, human_size

MINUTE_US: Final = 60_000_000
PSI_WINDOW_US: Final = 10_000_000
_LEAST_WINDOW_US: Final = 2_000_000
"""A share of less time than that is chance."""
FLOOR_PAGES: Final = 256
"""A minute: so few pages are no harm, however small the workload."""
_PAGE: Final = 4096
_BP: Final = 10_000


@dataclass(frozen=True, slots=True)
class Look:
    """Counters of those a policy is about, at one moment; None: not told.

    `refaults`: pages, ever; `resident`: bytes; `*_psi_us`: some task waited, ever; `cpu_us`: of
    kdamond or monitor and the agent, ever; `swap_*`: bytes.
    """

    at_us: int
    refaults: int | None = None
    resident: int = 0
    memory_psi_us: int | None = None
    io_psi_us: int | None = None
    swap_total: int = 0
    swap_free: int = 0
    cpu_us: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A number from outside against what it may be; `value` None: unknown or stale."""

    name: str
    value: int | None
    most: int


def keep(looks: Sequence[Look], look: Look) -> tuple[Look, ...]:
    """With the new one, what signals need: a minute, and the one before."""
    known = [*looks, look]
    first = 0
    while first + 1 < len(known) - 1 and known[first + 1].at_us <= look.at_us - MINUTE_US:
        first += 1
    return tuple(known[first:])


def budget_pages(limits: Limits, resident: int) -> int | None:
    """Pages that may come back in a minute; None: any."""
    if limits.refaults_bp is None:
        return None
    return max(resident // _PAGE * limits.refaults_bp // _BP, FLOOR_PAGES)


def find_signals(
    limits: Limits, looks: Sequence[Look], readings: Sequence[Reading] = ()
) -> tuple[Signal, ...]:
    """One for each limit; what takes two looks is left out at the first."""
    if not looks:
        return ()
    found = [*_refaults(limits, looks), *_psi(limits, looks), *_swap(limits, looks[-1])]
    return (*found, *_cpu(limits, looks), *map(_external, readings))


def _refaults(limits: Limits, looks: Sequence[Look]) -> Iterator[Signal]:
    now = looks[-1]
    budget = budget_pages(limits, now.resident)
    if budget is None:
        return
    since = _since(looks, MINUTE_US)
    if now.refaults is None or since.refaults is None:
        yield Signal("refaults", None, "refaults cannot be read")
        return
    # One that is further back than a minute tells of more than a minute.
    minutes = max((now.at_us - since.at_us) / MINUTE_US, 1.0)
    pages = max(now.refaults - since.refaults, 0)
    level = int(pages * _BP / (budget * minutes))
    lasted_s = max((now.at_us - since.at_us) // 1_000_000, 1)
    text = (
        f"{pages} pages were needed again within {lasted_s} s, of {budget} allowed a minute "
        f"({format_share(limits.refaults_bp or 0)} of {human_size(now.resident)} resident, "
        f"{FLOOR_PAGES} at least)"
    )
    yield Signal("refaults", level, text)


def _psi(limits: Limits, looks: Sequence[Look]) -> Iterator[Signal]:
    now, since = looks[-1], _since(looks, PSI_WINDOW_US)
    rows = (
        ("memory_psi", limits.memory_psi_bp, since.memory_psi_us, now.memory_psi_us, "memory"),
        ("io_psi", limits.io_psi_bp, since.io_psi_us, now.io_psi_us, "I/O"),
    )
    for name, limit, then, total, what in rows:
        share = _share(then, total, now.at_us - since.at_us)
        # Where PSI is off for the machine it cannot be had, and the others must do.
        if limit is not None and share is not None:
            text = f"tasks waited for {what} {format_share(share)} of the time, of "
            yield Signal(name, _level(share, limit), text + f"{format_share(limit)} allowed")


def _swap(limits: Limits, now: Look) -> Iterator[Signal]:
    if limits.swap_free_bp is None or not now.swap_total:
        return  # without swap only files go, and those need none
    free = now.swap_free * _BP // now.swap_total
    text = f"{format_share(free)} of the swap space is free, {format_share(limits.swap_free_bp)} "
    level = limits.swap_free_bp * _BP // max(free, 1)
    # What is short does not get worse by itself: it is no matter for a trip.
    yield Signal("swap_free", min(level, 2 * _BP), text + "has to stay so")


def _cpu(limits: Limits, looks: Sequence[Look]) -> Iterator[Signal]:
    now, since = looks[-1], _since(looks, PSI_WINDOW_US)
    share = _share(since.cpu_us, now.cpu_us, now.at_us - since.at_us)
    if limits.cpu_bp is not None and share is not None:
        text = f"monitoring and the agent take {format_share(share)} of a core, of "
        level = min(_level(share, limits.cpu_bp), 2 * _BP)
        yield Signal("cpu", level, text + f"{format_share(limits.cpu_bp)} allowed")


def _external(reading: Reading) -> Signal:
    if reading.value is None:
        return Signal(reading.name, None, f"{reading.name} is not known, or too old")
    text = f"{reading.name} is {reading.value}, of {reading.most} allowed"
    return Signal(reading.name, reading.value * _BP // reading.most, text)


def _level(share_bp: int, limit_bp: int) -> int:
    return share_bp * _BP // max(limit_bp, 1)


def _share(then: int | None, now: int | None, past_us: int) -> int | None:
    if then is None or now is None or past_us < _LEAST_WINDOW_US:
        return None
    return max(now - then, 0) * _BP // past_us


def _since(looks: Sequence[Look], window_us: int) -> Look:
    """The latest look that is a window ago, or the first."""
    start_us = looks[-1].at_us - window_us
    before = [look for look in looks[:-1] if look.at_us <= start_us]
    return before[-1] if before else looks[0]
