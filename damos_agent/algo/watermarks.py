"""Schemes that act only while free memory is within a band (damos_wmark_wait_us()).

Above it there is nothing to gain, below it the kernel's own reclaim must have the CPU; between
`mid` and `high` a scheme stays what it is, which keeps it from flapping.
"""

from __future__ import annotations

from collections.abc import Iterable

from damos_agent.model.damon import SchemeSpec


def free_permil(free_pages: int, total_pages: int) -> int:
    """The metric: free memory in permil of all; nothing is free where there is no memory."""
    return free_pages * 1_000 // total_pages if total_pages else 0


def is_active(scheme: SchemeSpec, permil: int | None, was_active: bool) -> bool:
    """Whether the scheme acts now. Not while free memory is unknown (None)."""
    if scheme.wmark_metric == "none":
        return True
    if permil is None or not scheme.wmark_low <= permil <= scheme.wmark_high:
        return False
    return was_active or permil < scheme.wmark_mid


def wait_us(schemes: Iterable[tuple[SchemeSpec, bool]]) -> int:
    """How long to do nothing at all, in µs: 0 as soon as one of the schemes is active.

    Each scheme with whether it is.
    """
    waits = (0 if active else scheme.wmark_interval_us for scheme, active in schemes)
    return min(waits, default=0)
