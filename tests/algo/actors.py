"""An actor that only remembers what it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from damos_agent.algo.actor import Applied, Ration
from damos_agent.algo.region import Region
from damos_agent.model.damon import Placement

Outcome = Callable[[int], Applied]


def all_applied(size: int) -> Applied:
    return Applied(applied=size, took_ns=1_000)


@dataclass(slots=True)
class RecordingActor:
    """`calls` are (scheme, pid, start, end); `outcome` makes the result from the size, or
    `rationed` from it and from what the quota allows.
    """

    outcome: Outcome = all_applied
    rationed: Callable[[int, Ration | None], Applied] | None = None
    calls: list[tuple[int, int, int, int]] = field(default_factory=list)

    def apply(
        self, scheme: int, process: Placement, region: Region, ration: Ration | None = None
    ) -> Applied:
        self.calls.append((scheme, process.pid, region.start, region.end))
        if self.rationed is not None:
            return self.rationed(region.size, ration)
        return self.outcome(region.size)

    def pieces(self, scheme: int = 0) -> list[tuple[int, int]]:
        return [(start, end) for number, _, start, end in self.calls if number == scheme]
