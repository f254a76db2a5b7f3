"""What tells whether memory was accessed: one protocol, a ladder of implementations behind it.

A probe is chosen per machine (`ladder`), proves itself on a throw-away child (`selftest`), and
opens one *sampler* per process. Page samplers answer for single pages, so that regions adapt as in
DAMON; mapping samplers answer for whole mappings, with the share of each that was referenced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from damos_agent.model.damon import Placement
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.young import Young


class Granularity(StrEnum):
    """The smallest piece of memory a probe can tell about."""

    PAGE = "page"
    MAPPING = "mapping"
    CGROUP = "cgroup"


@dataclass(frozen=True, slots=True)
class ProbeInfo:
    """A rung of the ladder as users see it.

    `sees`: `rw` for reads and writes, `w` for writes only; `limits`: what it cannot see, and what
    it costs, in a sentence; `experimental`: used only when asked for.
    """

    name: str
    granularity: Granularity
    sees: str
    limits: str
    experimental: bool = False


class PageSampler(Protocol):
    """Watches single pages of one process. Not for concurrent use."""

    def arm(self, addresses: Sequence[int]) -> None:
        """Forget past accesses of the pages at these addresses; replaces what was armed before.

        Raises `ProcessLookupError` once the process has gone or has called exec.
        """
        ...

    def check(self) -> list[bool | None]:
        """For each armed address, in order: accessed since? None where it cannot be told.

        Not mapped or not resident counts as not accessed, as in DAMON's vaddr operations. Raises
        as `arm`.
        """
        ...

    def take_young(self, where: AddressRange) -> list[Young]:
        """Which pages of whole pages `where` were accessed since they were last looked at.

        That is then forgotten, so nothing may be armed meanwhile. Ascending; what is not in memory
        is left out. Raises as `arm`.
        """
        ...

    def close(self) -> None:
        """Give back descriptors; may be called again."""
        ...


@dataclass(frozen=True, slots=True)
class MappingUse:
    """One mapping over one round. Sizes in bytes, `start`/`end` addresses.

    `referenced` of `rss` bytes were accessed since the round before; `shared`: by pages that
    other processes map too; `flags` as in VmFlags; `name` its file, `[heap]` and the like, or "".
    """

    start: int
    end: int
    rss: int
    referenced: int
    anonymous: int
    swap: int
    shared: int
    huge: int
    flags: frozenset[str] = frozenset()
    name: str = ""


class MappingSampler(Protocol):
    """Watches the mappings of one process. Not for concurrent use.

    `foreign_clears`: how often a reading, with no `clear` since the one before, found accesses
    forgotten that the one before had seen.
    """

    @property
    def foreign_clears(self) -> int:
        """See the class."""
        ...

    def clear(self) -> None:
        """Forget past accesses of all its memory. Raises as `PageSampler.arm`."""
        ...

    def read(self) -> tuple[MappingUse, ...]:
        """Its mappings, ascending, with what was referenced since `clear`. Raises as `arm`."""
        ...

    def predicted_stall_us(self) -> int:
        """How long the next walk will hold the process's mmap lock, by its resident memory."""
        ...

    def close(self) -> None:
        """Give back descriptors; may be called again."""
        ...


class PageProbe(Protocol):
    """A page-granular rung."""

    @property
    def info(self) -> ProbeInfo:
        """What it is."""
        ...

    def open(self, process: Placement) -> PageSampler:
        """A sampler of that process.

        Raises `ProcessLookupError` when it has gone, `HostError` when a privilege is missing.
        """
        ...

    def close(self) -> None:
        """Give back what all samplers share."""
        ...


class MappingProbe(Protocol):
    """A mapping-granular rung."""

    @property
    def info(self) -> ProbeInfo:
        """What it is."""
        ...

    def open(self, process: Placement) -> MappingSampler:
        """A sampler of that process. Raises as `PageProbe.open`."""
        ...

    def close(self) -> None:
        """Give back what all samplers share."""
        ...
