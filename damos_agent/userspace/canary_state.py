"""What is known of memory behind the canary gate: limits, trials, marks, counters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from damos_agent.model.policy import AddressRange


class State(StrEnum):
    """Of an interval: waiting for its trial, open to pageout, not to be touched, paged out."""

    PENDING = "pending"
    CLEARED = "cleared"
    BLOCKED = "blocked"
    DONE = "done"


JUDGED: Final = (State.PENDING, State.CLEARED)
"""States that a trial still decides about."""


@dataclass(frozen=True, slots=True)
class CanaryLimits:
    """`wait_us`: at least one aggregation interval. `evidence_us`: a cleared range stays so.

    `share_bp` of a range, at least `min_pages`, at most `max_pages` are sent; more than `back_bp`
    of them back is too much. Back-off doubles from `backoff_us` to `backoff_max_us`.
    """

    wait_us: int
    evidence_us: int = 60_000_000
    share_bp: int = 100
    min_pages: int = 8
    max_pages: int = 256
    pages_per_s: int = 500
    back_bp: int = 500
    backoff_us: int = 10_000_000
    backoff_max_us: int = 3_600_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Canaries sent together at `at_us`: page addresses by unit, one page or one huge page each,
    without gaps.

    `ranges` is what they stand for; `failures`: how often in a row that was found hot before.
    """

    ranges: tuple[AddressRange, ...]
    units: tuple[tuple[int, ...], ...]
    at_us: int
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """The state of an interval since `since_us`; if blocked, until `until_us`."""

    state: State
    since_us: int
    trial: Trial
    until_us: int = 0


@dataclass(slots=True)
class CanaryStats:
    """Counters since the start: `sent` pages, units that `came_back`, bytes thereby spared.

    `back_pages`: pages of the units that came back.
    """

    sent: int = 0
    came_back: int = 0
    back_pages: int = 0
    cancelled_bytes: int = 0
    no_effect: int = 0
    last_reason: str = ""
