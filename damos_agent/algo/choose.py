"""Which backend serves a policy: the kernel where it can, else user space; no flapping. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from damos_agent.algo.backoff import doubled_us
from damos_agent.model.policy import BackendChoice

FIRST_HOLD_US: Final = 30_000_000
MOST_HOLD_US: Final = 3_600_000_000


class Backend(StrEnum):
    """Who serves a policy now."""

    KERNEL = "kernel"
    USERSPACE = "userspace"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a policy sits. `reason` says why not in the kernel, or why nowhere.

    `calm_since_us`: since when the kernel could have it again, 0 while it cannot; `losses`: how
    often the kernel was lost, by which a return is put off longer each time.
    """

    backend: Backend
    reason: str = ""
    calm_since_us: int = 0
    losses: int = 0

    @property
    def returns_at_us(self) -> int | None:
        """When it goes back to the kernel if all stays well; None: no return is in sight."""
        return self.calm_since_us + hold_us(self.losses) if self.calm_since_us else None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Why the kernel and why user space cannot serve a policy; empty: they can."""

    kernel: str = ""
    userspace: str = ""


def hold_us(losses: int) -> int:
    """How long the kernel must have been usable before a policy goes back to it."""
    return doubled_us(FIRST_HOLD_US, losses, MOST_HOLD_US)


def choose(wanted: BackendChoice, found: Verdicts, seat: Seat | None, now_us: int) -> Seat:
    """The seat from now on. `now_us` is any steady clock that is not 0."""
    match wanted:
        case BackendChoice.KERNEL:
            return Seat(Backend.NONE if found.kernel else Backend.KERNEL, found.kernel)
        case BackendChoice.USERSPACE:
            free = not found.userspace
            return Seat(Backend.USERSPACE if free else Backend.NONE, found.userspace)
    if seat is not None and seat.backend is Backend.USERSPACE and not found.userspace:
        return _stay_or_return(found, seat, now_us)
    losses = seat.losses if seat else 0
    if not found.kernel:
        return Seat(Backend.KERNEL, losses=losses)
    if found.userspace:
        return Seat(Backend.NONE, _both(found), losses=losses)
    lost = seat is not None and seat.backend is Backend.KERNEL
    return Seat(Backend.USERSPACE, found.kernel, losses=losses + lost)


def _stay_or_return(found: Verdicts, seat: Seat, now_us: int) -> Seat:
    if found.kernel:
        return replace(seat, reason=found.kernel, calm_since_us=0)
    calm = replace(seat, calm_since_us=seat.calm_since_us or now_us)
    if now_us - calm.calm_since_us < hold_us(calm.losses):
        return calm
    return Seat(Backend.KERNEL, losses=seat.losses)


def _both(found: Verdicts) -> str:
    if found.kernel == found.userspace:
        return found.kernel
    return f"kernel: {found.kernel}; user space: {found.userspace}"
