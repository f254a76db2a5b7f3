"""One scheme's part in a round: which regions it is about, and which of them come first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from damos_agent.algo.actor import Actor
from damos_agent.algo.lower import Intervals
from damos_agent.algo.priority import MAX_SCORE, cut, score
from damos_agent.algo.quota import Resume, is_limited
from damos_agent.algo.region import Region
from damos_agent.algo.sampling import moving_nr, moving_unknown
from damos_agent.algo.scheme import SchemeState
from damos_agent.algo.verdict import Judged, Verdict, judge
from damos_agent.model.damon import Placement
from damos_agent.model.policy import Action
from damos_agent.model.units import ULONG_MAX

Targets = Sequence[tuple[Placement, list[Region]]]


def _not_measured(_scheme: int) -> Sequence[int | None]:
    return ()


@dataclass(frozen=True, slots=True)
class Round:
    """The circumstances of one round.

    `tick`: sampling intervals since the start; `left_bp`: how much of the window is to come;
    `unit`, `size_limit`: bytes, of the smallest region and of the largest that pieces are joined
    to; `scores(scheme)` measures the goals of a scheme, None where that cannot be.
    """

    actor: Actor
    now_us: int
    tick: int
    left_bp: int
    intervals: Intervals
    unit: int = 4096
    size_limit: int = ULONG_MAX
    scores: Callable[[int], Sequence[int | None]] = _not_measured


class Turn:
    """Scheme number `number` in the round; what is asked of every region is looked up once.

    `seen`: address up to which it has been asked about the target that is walked over. `begun`:
    where the first region is that has been begun, in the round, and not finished.
    """

    __slots__ = ("_wants_idle", "begun", "limited", "number", "round", "seen", "spec", "state")

    def __init__(self, round_: Round, number: int, state: SchemeState) -> None:
        self.round, self.number, self.state = round_, number, state
        self.spec = state.spec
        self.seen = 0
        self.begun: Resume | None = None
        self.limited = is_limited(state.spec)
        acting = state.spec.action != Action.STAT
        self._wants_idle = acting and state.spec.nr_accesses_max < round_.intervals.samples

    def matches(self, region: Region) -> bool:
        """Whether the pattern is about this region."""
        spec = self.spec
        if not (
            spec.sz_min <= region.end - region.start <= spec.sz_max
            and spec.age_min <= region.age <= spec.age_max
        ):
            return False
        nr = moving_nr(region, self.round.left_bp)
        if not spec.nr_accesses_min <= nr <= spec.nr_accesses_max:
            return False
        return not self._wants_idle or self._is_certain(region, nr)

    def score(self, region: Region) -> int:
        """Its priority."""
        nr = moving_nr(region, self.round.left_bp)
        return score(self.spec, nr, region.age, self.round.intervals)

    def is_blind(self, region: Region) -> bool:
        """Nobody can tell whether the region is idle: no access found, but checks failed."""
        left_bp = self.round.left_bp
        return not moving_nr(region, left_bp) and moving_unknown(region, left_bp) > 0

    def judge(self, target: int, start: int, end: int) -> Judged:
        """The verdict of the core filters on the left part of [start, end)."""
        return judge(self.spec, start, end, target, self.round.unit)

    def min_score(self, targets: Targets) -> int:
        """The score from which memory is acted on, so that the quota goes to the best."""
        histogram = [0] * (MAX_SCORE + 1)
        for index, (_, regions) in enumerate(targets):
            for region in regions:
                if self.matches(region):
                    histogram[self.score(region)] += self._accepted_bytes(index, region)
        return cut(histogram, self.state.quota.esz)

    def _is_certain(self, region: Region, nr: int) -> bool:
        """Whether the region is idle enough even if all failed checks would have found accesses."""
        unknown = moving_unknown(region, self.round.left_bp)
        return not unknown or (nr > 0 and nr + unknown <= self.spec.nr_accesses_max)

    def _accepted_bytes(self, target: int, region: Region) -> int:
        if not self.spec.core_filters:
            return region.end - region.start
        accepted, start = 0, region.start
        while start < region.end:
            judged = self.judge(target, start, region.end)
            if judged.verdict is not Verdict.REJECT:
                accepted += judged.end - start
            start = judged.end
        return accepted
