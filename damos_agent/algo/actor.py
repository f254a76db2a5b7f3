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
    and are charged to the quota, and the rest is as if its turn had not come. `until`: what lies
    between the region's end and there, of what it was cut from, fares like it; 0: nothing.
    `begun`: something of it has gone, as a trial, and the rest shall go before anything else.
    `trial_bytes` of those tried, `trial_ns` of the time: spent on trials, which say nothing about
    what the action itself takes.
    """

    applied: int
    took_ns: int
    passed: int | None = None
    touched: bool = True
    tried: int | None = None
    until: int = 0
    begun: bool = False
    trial_bytes: int = 0
    trial_ns: int = 0


@dataclass(frozen=True, slots=True)
class Ration:
    """What a quota allows: `window_bytes` per charge window, of which `left_ns` are left, if time
    counts; for its sake the region was cut from one that extends to `reach`.
    """

    window_bytes: int
    reach: int
    left_ns: int | None = None


class Actor(Protocol):
    """Carries out actions: the real one on processes, in tests a simulated one."""

    def apply(
        self, scheme: int, process: Placement, region: Region, ration: Ration | None = None
    ) -> Applied:
        """Do the action of scheme number `scheme` on that region; `ration` if there is a quota.

        Never raises for what is normal: a vanished process, unmapped ranges, EAGAIN count as not
        applied.
        """
        ...
