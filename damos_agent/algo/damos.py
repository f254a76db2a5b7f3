"""A round of schemes over all regions: match, prioritise, act, charge, count.

Law: kdamond_apply_schemes(), 7.3. No region is acted on twice within a round, and acting voids
the region's age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from damos_agent.algo.actor import Ration
from damos_agent.algo.merge import rejoin
from damos_agent.algo.quota import Resume, adjust, charge, is_full
from damos_agent.algo.region import Region
from damos_agent.algo.scheme import SchemeState
from damos_agent.algo.split import split_at
from damos_agent.algo.turn import Round, Targets, Turn
from damos_agent.algo.verdict import Verdict
from damos_agent.model.damon import Placement
from damos_agent.model.policy import Action

__all__ = ["Round", "SchemeState", "apply_schemes"]


def apply_schemes(
    round_: Round, targets: Targets, states: Sequence[SchemeState]
) -> list[list[Region]]:
    """The regions of each target afterwards. Changes states and regions, not the lists.

    Quotas and address filters split regions; pieces that are alike in the end are joined again.
    """
    turns = [Turn(round_, i, s) for i, s in enumerate(states) if s.is_due(round_.tick)]
    for turn in turns:
        _prepare(turn, targets)
    walked = [regions for _, regions in targets]
    if turns:
        walked = [
            _Walk(round_, i, process, regions).run(turns)
            for i, (process, regions) in enumerate(targets)
        ]
    for state in states:
        state.passed(round_.tick, round_.intervals)
    return walked


def _prepare(turn: Turn, targets: Targets) -> None:
    state, round_ = turn.state, turn.round
    if not state.exhausted:
        state.tried_bytes = state.unknown_bytes = 0
    if not turn.limited:
        return
    quota = adjust(
        turn.spec, state.quota, round_.now_us, round_.unit, lambda: round_.scores(turn.number)
    )
    if quota.resume and not any(p == quota.resume.process and r for p, r in targets):
        quota = replace(quota, resume=None)
    state.quota = quota
    state.quota = replace(quota, min_score=turn.min_score(targets))


class _Walk:
    """Over one target, in address order; what is split off waits in `_pending`, last first."""

    def __init__(
        self, round_: Round, target: int, process: Placement, regions: Sequence[Region]
    ) -> None:
        self._round, self._target, self._process = round_, target, process
        self._pending = list(reversed(regions))

    def run(self, turns: Sequence[Turn]) -> list[Region]:
        walked: list[Region] = []
        for turn in turns:
            turn.seen = 0
        while self._pending:
            region = self._pending.pop()
            for turn in turns:
                self._visit(turn, region)
            if not (walked and rejoin(walked[-1], region, self._round.size_limit)):
                walked.append(region)
        return walked

    def _visit(self, turn: Turn, region: Region) -> None:
        state = turn.state
        if region.start < turn.seen:  # a later scheme split what this one has been asked about
            return
        if (turn.limited and self._must_wait(state, region)) or state.exhausted:
            return
        if turn.matches(region) and self._is_urgent(turn, region):
            self._try(turn, region)
        turn.seen = region.end
        state.nr_snapshots += not self._pending

    def _is_urgent(self, turn: Turn, region: Region) -> bool:
        return not turn.limited or turn.score(region) >= turn.state.quota.min_score

    def _must_wait(self, state: SchemeState, region: Region) -> bool:
        if is_full(state.quota, self._round.unit):
            return True
        resume = state.quota.resume
        return resume is not None and self._was_charged(state, resume, region)

    def _was_charged(self, state: SchemeState, resume: Resume, region: Region) -> bool:
        """Whether it lies before the resume point, up to which it is split.

        Behind the point, or at the end of its target, the search for it is over.
        """
        if self._process != resume.process:
            return True
        if region.start < resume.address < region.end:
            unit = self._round.unit
            skipped = max((resume.address - region.start) // unit * unit, unit)
            self._split(region, region.start + skipped)
        before = region.start < resume.address
        if not before or not self._pending:
            state.quota = replace(state.quota, resume=None)
        return before

    def _try(self, turn: Turn, region: Region) -> None:
        quota, unit = turn.state.quota, self._round.unit
        judged = turn.judge(self._target, region.start, region.end)
        if turn.limited and quota.charged + region.size > quota.esz:
            self._split(region, region.start + (quota.esz - quota.charged) // unit * unit)
        self._split(region, judged.end)
        if judged.verdict is not Verdict.REJECT:
            ration = Ration(quota.esz, judged.end, quota.left_ns)
            self._act(turn, region, ration if turn.limited else None)

    def _act(self, turn: Turn, region: Region, ration: Ration | None) -> None:
        state = turn.state
        applied = self._round.actor.apply(turn.number, self._process, region, ration)
        tried = region.size if applied.tried is None else applied.tried
        if applied.until > region.end:
            self._extend(region, applied.until)
        size = region.size
        if turn.is_blind(region):
            state.unknown_bytes += size
        state.count(size, tried, applied)
        if turn.limited:
            quota = charge(turn.spec, state.quota, tried, applied)
            if applied.begun and turn.begun is None:
                turn.begun = Resume(self._process, region.start)
            if is_full(quota, self._round.unit):
                resume = turn.begun or Resume(self._process, region.end)
                quota = replace(quota, resume=resume)
            state.quota = quota
        if applied.touched and turn.spec.action != Action.STAT:
            region.age = 0

    def _split(self, region: Region, address: int) -> None:
        if address < region.end:
            self._pending.append(split_at(region, address)[1])

    def _extend(self, region: Region, address: int) -> None:
        """Take back, up to `address`, what was split off for the quota: it waits, too."""
        rest, unit = self._pending.pop(), self._round.unit
        address = address // unit * unit
        region.end = min(max(address, region.end), rest.end)
        if region.end < rest.end:
            rest.start = region.end
            self._pending.append(rest)
