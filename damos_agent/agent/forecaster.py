"""What would come back if memory were paged out: looks at regions, for `age: auto` and for those
who only observe.

Loaded when a policy first needs it. A look makes the kernel show every region as a directory, which
takes some ten milliseconds for a thousand: so it is rare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from damos_agent.agent.warden import Ward
from damos_agent.algo.auto_age import DEFAULT_BUDGET_BP, Choice, choose, predict
from damos_agent.algo.coldness import History, estimate, observe, restarted, working_set_bytes
from damos_agent.algo.idleness import Look, Row
from damos_agent.algo.overlay import (
    AUTO_US,
    OBSERVED_US,
    has_auto_age,
    is_observed,
    resolved,
)
from damos_agent.algo.signals import FLOOR_PAGES
from damos_agent.model.damon import SchemeStats
from damos_agent.model.errors import HostError, KernelError, UnsupportedError
from damos_agent.model.policy import Action, Mode, Policy
from damos_agent.model.status import ColdBytes, Forecast, Predicted
from damos_agent.model.userspace import Snapshot, SnapshotRegion

MOST_OBSERVED = 8
"""So many policies that only observe are looked at: it costs more than all else the agent does."""
_BP = 10_000
_PAGE = 4096

Regions = Callable[[str], Snapshot]
Counters = Callable[[], Sequence[SchemeStats] | None]


@dataclass(slots=True)
class _Known:
    """Of a policy. `tried`: bytes by all its schemes, as of the last look."""

    history: History
    choice: Choice
    workers: tuple[int, ...]
    looked_us: int
    rows: tuple[Row, ...] = ()
    tried: int | None = None
    why: str = ""


@dataclass(slots=True)
class Forecaster:
    """One per agent. `ages`: what has been chosen, by policy; of a policy just begun, what the last
    run had chosen.
    """

    ages: dict[str, int] = field(default_factory=dict)
    _known: dict[str, _Known] = field(default_factory=dict)

    def due(self, wards: Sequence[Ward], now_us: int) -> list[Ward]:
        """Whom to look at now; whoever has gone is forgotten."""
        wanted = list(_wanted(wards))
        names = {ward.policy.name for ward in wanted}
        self._known = {name: one for name, one in self._known.items() if name in names}
        self.ages = {name: age for name, age in self.ages.items() if name in names}
        found = []
        for ward in wanted:
            known = self._known.get(ward.policy.name)
            every = AUTO_US if has_auto_age(ward.policy) else OBSERVED_US
            # A timer that comes a little early must not cost a whole turn.
            if known is None or now_us - known.looked_us >= every - every // 10:
                found.append(ward)
        return found

    def look(
        self,
        ward: Ward,
        regions: Regions,
        counters: Counters,
        acts: bool,
        now_us: int,
    ) -> bool:
        """One look at a policy in the kernel; whether its age is another one now."""
        try:
            # Regions come with the next aggregation: what is done until then shows in them already.
            before = counters()
            snapshot = regions(ward.policy.name)
            after = counters()
        except (KernelError, HostError, UnsupportedError) as error:
            known = self._of(ward, now_us)
            known.looked_us, known.why = now_us, str(error)
            return False
        changed = self.take(ward, snapshot, after, acts, now_us)
        self._of(ward, now_us).tried = _tried(ward.policy, before)
        return changed

    def take(
        self,
        ward: Ward,
        snapshot: Snapshot,
        stats: Sequence[SchemeStats] | None,
        acts: bool,
        now_us: int,
    ) -> bool:
        """What a look has shown. `acts`: whether its schemes are carried out at present."""
        policy, known = ward.policy, self._of(ward, now_us)
        if known.workers != ward.workers:
            known.history, known.workers = restarted(known.history), ward.workers
            known.tried = None
        before = self.ages.get(policy.name)
        tried = _tried(policy, stats)
        acted = max(tried - known.tried, 0) if tried is not None and known.tried is not None else 0
        known.rows = tuple(_rows(snapshot))
        acting = _acting_us(policy, before) if acts else None
        look = Look(now_us, known.rows, acting, acted if acting is not None else 0)
        known.history = observe(known.history, look)
        known.tried, known.looked_us, known.why = tried, now_us, ""
        if not has_auto_age(policy):
            return False
        budget_bp = _budget_bp(policy, working_set_bytes(known.history))
        known.choice = choose(known.choice, estimate(known.history), now_us, budget_bp)
        return self._put(policy.name, before, known.choice)

    def forecast(self, policy: Policy) -> Forecast | None:
        """What is known now; None before the first look."""
        known = self._known.get(policy.name)
        if known is None:
            return None
        estimates = estimate(known.history)
        auto = has_auto_age(policy)
        age = self.ages.get(policy.name)
        return Forecast(
            age_us=age,
            reason=known.choice.reason.value if auto else "",
            why=known.why,
            working_set=working_set_bytes(known.history),
            ages=tuple(
                ColdBytes(
                    one.age_us,
                    one.cold_bytes,
                    one.back_bytes_per_minute,
                    one.back_bp,
                    one.at_most_bp,
                    enough=one.enough,
                )
                for one in estimates
            ),
            schemes=tuple(
                _predicted(index, policy, known.rows, known.history, age)
                for index, scheme in enumerate(policy.schemes)
                if scheme.action is Action.PAGEOUT
            ),
        )

    def _put(self, name: str, before: int | None, choice: Choice) -> bool:
        if not choice.moves and before is not None:
            return False  # what the last run had found out holds until this one knows better
        if choice.age_us is None:
            self.ages.pop(name, None)
        else:
            self.ages[name] = choice.age_us
        return choice.age_us != before

    def _of(self, ward: Ward, now_us: int) -> _Known:
        name = ward.policy.name
        if name not in self._known:
            self._known[name] = _Known(History(), Choice(), ward.workers, now_us)
        return self._known[name]


def _wanted(wards: Sequence[Ward]) -> Iterator[Ward]:
    observed = 0
    for ward in wards:
        if has_auto_age(ward.policy):
            yield ward
        elif is_observed(ward.policy) and observed < MOST_OBSERVED:
            observed += 1
            yield ward


def _budget_bp(policy: Policy, working_set: int) -> int:
    """As of the guard, which allows so many pages however small the workload."""
    limit = policy.guard.refaults_bp
    share_bp = DEFAULT_BUDGET_BP if limit is None else limit
    return max(share_bp, FLOOR_PAGES * _PAGE * _BP // max(working_set, 1))


def _acting_us(policy: Policy, auto_us: int | None) -> int | None:
    """The least age at which anything that changes memory is done."""
    ages = [
        auto_us if scheme.pattern.auto_age else scheme.pattern.age_min_us
        for scheme in policy.schemes
        if scheme.action is not Action.STAT and policy.mode is Mode.ENFORCE
    ]
    known = [age for age in ages if age is not None]
    return min(known, default=None)


def _tried(policy: Policy, stats: Sequence[SchemeStats] | None) -> int | None:
    """Bytes by the policy's own schemes, without the census."""
    return sum(one.sz_tried for one in stats[: len(policy.schemes)]) if stats else None


def _rows(snapshot: Snapshot) -> Iterator[Row]:
    samples = max(snapshot.samples, 1)
    for one in snapshot.regions:
        if not _is_unknown(one, samples):
            yield Row(one.pid, one.start, one.end, one.nr_accesses * _BP // samples, one.age_us)


def _is_unknown(region: SnapshotRegion, samples: int) -> bool:
    return region.nr_accesses == 0 and region.unknown >= samples


def _predicted(
    index: int, policy: Policy, rows: Sequence[Row], history: History, age_us: int | None
) -> Predicted:
    scheme = policy.schemes[index]
    pattern = resolved(scheme.pattern, age_us)
    apply_us = scheme.apply_interval_us or policy.monitoring.aggr_us
    found = predict(rows, estimate(history), pattern, scheme.quota, apply_us)
    return Predicted(
        index,
        found.matched_bytes,
        found.first_bytes,
        found.bytes_per_s,
        found.back_bytes_per_minute,
        found.back_bp,
    )
