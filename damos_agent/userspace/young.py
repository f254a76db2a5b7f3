"""Pages by whether they were accessed since somebody last looked: DAMOS filter `young`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from damos_agent.model.policy import AddressRange
from damos_agent.userspace.effect import PAGE_BYTES

Young = tuple[AddressRange, bool | None]
"""Memory in which all pages were accessed, or none; None where that cannot be told."""


def runs(pages: Iterable[tuple[int, bool | None]]) -> list[Young]:
    """Pages by address, ascending; those that touch and are told alike are one."""
    found: list[Young] = []
    for address, young in pages:
        end = address + PAGE_BYTES
        if found and found[-1][0].end == address and found[-1][1] is young:
            found[-1] = (AddressRange(found[-1][0].start, end), young)
        else:
            found.append((AddressRange(address, end), young))
    return found
