"""Rounds of schemes with little ceremony."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from damos_agent.algo.damos import Round, SchemeState, apply_schemes
from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.units import U32_MAX, ULONG_MAX
from tests.algo.actors import RecordingActor
from tests.algo.regions import SAMPLES

ANY = SchemeSpec("pageout", 0, ULONG_MAX, 0, U32_MAX, 0, U32_MAX, reset_interval_ms=1_000)
STAT = replace(ANY, action="stat")
IDLE = replace(ANY, nr_accesses_max=0)


@dataclass(slots=True)
class Desk:
    """Processes 100, 101, … with regions; time passes by `round`, one aggregation each."""

    states: list[SchemeState]
    targets: list[list[Region]]
    actor: RecordingActor = field(default_factory=RecordingActor)
    unit: int = 1
    size_limit: int = ULONG_MAX
    rounds: int = 0

    def round(self, *, left_bp: int = 0, scores: tuple[int | None, ...] = ()) -> list[list[Region]]:
        circumstances = Round(
            self.actor,
            now_us=self.rounds * 1_000_000,
            tick=self.rounds * SAMPLES,
            left_bp=left_bp,
            intervals=Intervals(5_000, 5_000 * SAMPLES),
            unit=self.unit,
            size_limit=self.size_limit,
            scores=lambda _: scores,
        )
        placed = [(Placement(100 + n, 1), regions) for n, regions in enumerate(self.targets)]
        self.targets = apply_schemes(circumstances, placed, self.states)
        self.rounds += 1
        return self.targets


def desk(*specs: SchemeSpec, regions: list[Region], unit: int = 1) -> Desk:
    return Desk([SchemeState(spec) for spec in specs], [regions], unit=unit)
