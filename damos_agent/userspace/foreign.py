"""Telling that somebody else forgot accesses which we wanted to count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from damos_agent.userspace.probe import MappingUse

_NOISE_BYTES: Final = 64 << 10
_NOISE_SHARE: Final = 100


def forgotten_bytes(before: Iterable[MappingUse], after: Iterable[MappingUse]) -> int:
    """Bytes accessed by the first reading and not by the second, though still resident.

    Between two readings without a clearing, accesses only add up; what has left memory, or a
    mapping that has changed, is no evidence.
    """
    now = {(use.start, use.end, use.name): use for use in after}
    total = 0
    for old in before:
        new = now.get((old.start, old.end, old.name))
        if new is not None:
            left = max(old.rss - new.rss, 0)
            total += max(old.referenced - new.referenced - left, 0)
    return total


def is_foreign_clear(before: tuple[MappingUse, ...], after: tuple[MappingUse, ...]) -> bool:
    """Whether so much was forgotten that it was no reclaim of a few pages."""
    referenced = sum(use.referenced for use in before)
    return forgotten_bytes(before, after) > max(_NOISE_BYTES, referenced // _NOISE_SHARE)
