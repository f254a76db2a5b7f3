"""How much of what was paged out may be needed again: above that, page-out pauses. Pure.

Whether memory came back because we had paged it out is not told by a count of major faults. So no
more counts than went, and the faults a process had before its first page-out are allowed for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from damos_agent.algo.backoff import doubled_us
from damos_agent.model.damon import Placement
from damos_agent.model.policy import Policy
from damos_agent.model.units import format_duration, format_share, human_size
from damos_agent.userspace.effect import PAGE_BYTES

SLOW_START: Final = (
    "after a pause page-out starts slowly, with as much as may come back, twice that each minute"
)
MINUTE_US: Final = 60_000_000
APART_US: Final = 2_000_000
"""Faults are looked at no more often than that."""
FLOOR_PAGES: Final = 32
"""A minute: a handful of pages of a small process is no harm."""
_FIRST_HOLD_US: Final = MINUTE_US
_MOST_HOLD_US: Final = 60 * MINUTE_US
_MOST_DOUBLINGS: Final = 40
_BP: Final = 10_000
_ANY_BP: Final = 1_000_000_000


def allowed_bp(policy: Policy) -> int:
    """Of what is resident, how much may be needed again a minute."""
    limit = policy.guard.refaults_bp
    return _ANY_BP if limit is None else limit


@dataclass(frozen=True, slots=True)
class Budget:
    """Pages that may come back in a minute: `share_bp` of what is resident, at least the floor,
    beside the `usual` faults.
    """

    share_bp: int
    resident_bytes: int
    usual: float = 0.0

    @property
    def pages(self) -> float:
        """All together, a minute."""
        share = self.resident_bytes // PAGE_BYTES * self.share_bp / _BP
        return max(share, FLOOR_PAGES) + self.usual


@dataclass(frozen=True, slots=True)
class Canaried:
    """Pages of canaries: those found to be `back`, ever, and those in flight.

    Their gate answers for them by itself, so that they are not charged here a second time.
    """

    back: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """So many pages came back in that time, less than none where canaries were found out late.

    `in_flight`: how many of these and earlier ones may be canaries.
    """

    from_us: int
    to_us: int
    pages: int
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """Whether page-out pauses: `why`, with figures, or empty; not before `until_us`.

    `times`: pauses in a row, less those that quiet has taken off; `calm_us`: since when it is
    quiet; `spans`: of the last minute.
    """

    why: str = ""
    until_us: int = 0
    times: int = 0
    calm_us: int = 0
    spans: tuple[Span, ...] = ()


def hold_us(times: int) -> int:
    """How long the pause after so many others is."""
    return doubled_us(_FIRST_HOLD_US, times, _MOST_HOLD_US)


def step(hold: Hold, span: Span, budget: Budget) -> Hold:
    """What came back in `span` is known now, at its end."""
    now_us = span.to_us
    spans = (*(one for one in hold.spans if one.to_us > now_us - MINUTE_US), span)
    hold = replace(hold, spans=spans)
    if now_us < hold.until_us:
        return hold
    if _exceeds(spans, budget):
        return _pause(hold, budget, now_us)
    quiet_us = hold_us(hold.times - 1) if hold.times else 0
    if hold.times and now_us - hold.calm_us >= quiet_us:
        hold = replace(hold, times=hold.times - 1, calm_us=now_us)
    return replace(hold, why="")


def _exceeds(spans: tuple[Span, ...], budget: Budget) -> bool:
    """Looks may be further apart than a minute: then so much more may have come back."""
    minutes = max((spans[-1].to_us - spans[0].from_us) / MINUTE_US, 1.0)
    return sum(one.pages for one in spans) - spans[-1].in_flight > budget.pages * minutes


def _pause(hold: Hold, budget: Budget, now_us: int) -> Hold:
    wait_us = hold_us(hold.times)
    pages = sum(one.pages for one in hold.spans)
    lasted_s = max((now_us - hold.spans[0].from_us) // 1_000_000, 1)
    why = (
        f"{pages} pages that were paged out were needed again within {lasted_s} s, over the budget "
        f"of {budget.pages:.0f} a minute ({format_share(budget.share_bp)} of "
        f"{human_size(budget.resident_bytes)} resident, {FLOOR_PAGES} at least{_usual(budget)}): "
        f"page-out waits {format_duration(wait_us)}"
    )
    until_us = now_us + wait_us
    return replace(hold, why=why, until_us=until_us, times=hold.times + 1, calm_us=until_us)


def _usual(budget: Budget) -> str:
    return f", and the {budget.usual:.0f} of before" if budget.usual >= 1 else ""


@dataclass(frozen=True, slots=True)
class Faults:
    """Major faults of one process, or refaults of a cgroup.

    `looks`: times in µs and counts, of the last minute before anything was paged out, then only the
    latest; `out_pages`: paged out and not back; `usual`: a minute, before the first page-out, None
    until then.
    """

    looks: tuple[tuple[int, int], ...] = ()
    out_pages: float = 0.0
    usual: float | None = None


def seen(known: Faults, now_us: int, count: int) -> tuple[Faults, int]:
    """So many have there ever been; and how many of the new ones may be of pages we paged out."""
    latest = (now_us, count)
    if known.usual is None:
        before = tuple(one for one in known.looks if one[0] >= now_us - MINUTE_US)
        # Where looks are rarer than that, the one before still tells a rate.
        return replace(known, looks=(*(before or known.looks[-1:]), latest)), 0
    then_us, then = known.looks[-1] if known.looks else latest
    usual = known.usual * (now_us - then_us) / MINUTE_US
    back = min(max(count - then, 0), int(known.out_pages + usual))
    left = max(known.out_pages - max(back - usual, 0.0), 0.0)
    return replace(known, looks=(latest,), out_pages=left), back


def paged_out(known: Faults, size: int) -> Faults:
    """So many more bytes went."""
    usual = _rate(known.looks) if known.usual is None else known.usual
    return Faults(known.looks[-1:], known.out_pages + size // PAGE_BYTES, usual)


def _rate(looks: tuple[tuple[int, int], ...]) -> float:
    """A minute."""
    if len(looks) < 2:
        return 0.0
    (then_us, then), (now_us, now) = looks[0], looks[-1]
    return max(now - then, 0) * MINUTE_US / max(now_us - then_us, 1)


@dataclass(slots=True)
class Refaults:
    """Of all processes of a policy. `hold` says whether page-out pauses."""

    hold: Hold = field(default_factory=Hold)
    _known: dict[Placement, Faults] = field(default_factory=dict)
    _looked_us: int | None = None
    _canaries_back: int = 0
    _budget: Budget | None = None
    _resumed_us: int = 0
    _out_since: int = 0

    @property
    def is_slow(self) -> bool:
        """Whether page-out goes on, but slowly."""
        return bool(self.hold.times) and not self.hold.why

    def room(self, now_us: int) -> int | None:
        """Bytes that may be paged out now; None: as many as quotas allow.

        After a pause as much as may come back, twice that in the next minute, and so on, until
        quiet has taken the pauses off: what came back is likely to come back again.
        """
        if not self.hold.times or self._budget is None:
            return None
        minutes = min(max(now_us - self._resumed_us, 0) // MINUTE_US, _MOST_DOUBLINGS)
        allowed = int(self._budget.pages * PAGE_BYTES) * ((2 << minutes) - 1)
        return max(allowed - self._out_since, 0)

    def due(self, now_us: int) -> bool:
        """Whether it is time for the next look."""
        return self._looked_us is None or now_us - self._looked_us >= APART_US

    def look(
        self,
        counts: Mapping[Placement, int],
        resident_bytes: int,
        share_bp: int,
        now_us: int,
        canaries: Canaried = Canaried(),
    ) -> None:
        """Counts of everybody there is; whoever is missing is forgotten."""
        back, known = 0, {}
        for process, count in counts.items():
            known[process], new = seen(self._known.get(process, Faults()), now_us, count)
            back += new
        self._known = known
        usual = sum(one.usual or 0.0 for one in known.values())
        since_us = self._looked_us if self._looked_us is not None else now_us
        budget = Budget(share_bp, resident_bytes, usual)
        back -= canaries.back - self._canaries_back
        span = Span(since_us, now_us, back, canaries.in_flight)
        waited = bool(self.hold.why)
        self.hold, self._budget = step(self.hold, span, budget), budget
        if waited and not self.hold.why:
            self._resumed_us, self._out_since = now_us, 0
        self._looked_us, self._canaries_back = now_us, canaries.back

    def took(self, sizes: Mapping[Placement, int]) -> None:
        """Bytes that were paged out, by process."""
        for process, size in sizes.items():
            self._out_since += size
            if size:
                self._known[process] = paged_out(self._known.get(process, Faults()), size)

    def allow(self) -> None:
        """The budget is another one: a pause by the old one is over."""
        self.hold = Hold()

    def forget(self, processes: Iterable[Placement]) -> None:
        """Their memory has gone."""
        for process in processes:
            self._known.pop(process, None)
