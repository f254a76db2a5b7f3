"""The one effect of the pure rules: a scheme's action on a piece of memory, passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from damos_agent.algo.region import Region
from damos_agent.model.damon import Placement


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of one action. Bytes, and the nanoseconds it took.

    `applied`: bytes whose state did change; `passed`: bytes that passed the page filters, None
    where none were asked; `touched`: whether the evidence about the region is void now, so that
    its age starts over (kernel: always, unless the action is stat). A canary leaves it False.
    `tried`: bytes that were dealt with, if that is not the whole region: so many count as tried
    and are charged to the quota, and the rest is as if its turn had not come.
    """

    applied: int
    took_ns: int
    passed: int | None = None
    touched: bool = True
    tried: int | None = None


class Actor(Protocol):
    """Carries out actions: the real one on processes, in tests a simulated one."""

    def apply(self, scheme: int, process: Placement, region: Region) -> Applied:
        """Do the action of scheme number `scheme` on that region.

        Never raises for what is normal: a vanished process, unmapped ranges, EAGAIN count as not
        applied.
        """
        ...
