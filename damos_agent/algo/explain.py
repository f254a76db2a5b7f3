"""Why memory is or is not acted on: one region against one scheme. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from damos_agent.algo.lower import Intervals, shape_scheme
from damos_agent.algo.priority import score
from damos_agent.model.feature import Features, Ops
from damos_agent.model.policy import Action, Filter, FilterType, Mode, Scheme
from damos_agent.model.units import format_duration, format_share, human_size
from damos_agent.model.userspace import Snapshot, SnapshotRegion

_BP = 10_000
_DECIDED = frozenset({FilterType.ADDR})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One scheme on one region. `matches` its pattern; `why`: what stands in the way, in the order
    in which DAMON looks, or what decides whether it goes now.
    """

    scheme: int
    action: str
    matches: bool
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """What else decides: `held` why the scheme is stopped, `free_permil` of memory, how often its
    quota was used up lately, and `effective` bytes of it (None: not known).
    """

    held: str = ""
    free_permil: int | None = None
    exceeded: int = 0
    effective: int | None = None


def judge(
    region: SnapshotRegion,
    snapshot: Snapshot,
    scheme: Scheme,
    index: int,
    condition: Condition,
    features: Features,
) -> Verdict:
    """Of a region of that snapshot."""
    misses = tuple(_misses(region, snapshot, scheme))
    if misses:
        return Verdict(index, scheme.action, matches=False, why=misses)
    return Verdict(
        index,
        scheme.action,
        matches=True,
        why=tuple(_hindrances(region, snapshot, scheme, condition, features)),
    )


def find(snapshot: Snapshot, address: int, pid: int | None) -> list[SnapshotRegion]:
    """The regions with that address; several where processes share it, unless `pid` is given."""
    return [
        one for one in snapshot.regions if one.start <= address < one.end and pid in (None, one.pid)
    ]


def by_age(snapshot: Snapshot, ladder: Sequence[int]) -> list[tuple[int, int]]:
    """Bytes without access for at least each age in µs."""
    idle = [one for one in snapshot.regions if one.nr_accesses == 0]
    return [(age, sum(one.end - one.start for one in idle if one.age_us >= age)) for age in ladder]


def _misses(region: SnapshotRegion, snapshot: Snapshot, scheme: Scheme) -> Iterator[str]:
    pattern, size = scheme.pattern, region.end - region.start
    rate = region.nr_accesses * _BP // max(snapshot.samples, 1)
    if size < pattern.size_min:
        yield f"size: {human_size(size)} is less than {human_size(pattern.size_min)}"
    if pattern.size_max is not None and size > pattern.size_max:
        yield f"size: {human_size(size)} is more than {human_size(pattern.size_max)}"
    if rate < pattern.access_min_bp:
        yield f"access rate: {format_share(rate)} is below {format_share(pattern.access_min_bp)}"
    if pattern.access_max_bp is not None and rate > pattern.access_max_bp:
        yield f"access rate: {format_share(rate)} is above {format_share(pattern.access_max_bp)}"
    if region.age_us < pattern.age_min_us:
        told, wanted = format_duration(region.age_us), format_duration(pattern.age_min_us)
        yield f"age: it has been like that for {told}, not for {wanted} yet"
    if pattern.age_max_us is not None and region.age_us > pattern.age_max_us:
        told, wanted = format_duration(region.age_us), format_duration(pattern.age_max_us)
        yield f"age: it has been like that for {told}, longer than {wanted}"


def _hindrances(
    region: SnapshotRegion,
    snapshot: Snapshot,
    scheme: Scheme,
    condition: Condition,
    features: Features,
) -> Iterator[str]:
    if condition.held:
        yield f"held: {condition.held}"
    marks = scheme.watermarks
    if marks and condition.free_permil is not None:
        low, high = marks.low_permil, marks.high_permil
        if not low <= condition.free_permil <= high:
            free = format_share(condition.free_permil * 10)
            band = f"{format_share(low * 10)} to {format_share(high * 10)}"
            yield f"watermark: {free} of memory is free, and it acts at {band} only"
    yield from _filters(region, scheme.filters)
    if condition.exceeded:
        intervals = Intervals(snapshot.sample_us, snapshot.aggr_us)
        spec = shape_scheme(scheme, Mode.ENFORCE, Ops.VADDR, features, intervals)
        age = region.age_us // max(snapshot.aggr_us, 1)
        value = score(spec, region.nr_accesses, age, intervals)
        size = human_size(condition.effective) if condition.effective is not None else "its quota"
        yield (
            f"quota: {size} was used up {condition.exceeded} times lately; this region's priority "
            f"is {value} of 99, and larger ones go first"
        )


def _filters(region: SnapshotRegion, filters: Iterable[Filter]) -> Iterator[str]:
    for number, item in enumerate(filters):
        if item.type is FilterType.ADDR and item.range is not None:
            inside = item.range.start <= region.start and region.end <= item.range.end
            outside = region.end <= item.range.start or item.range.end <= region.start
            hits = inside if item.matching else outside
            if hits and not item.allow:
                yield f"filter {number}: {item.type} rejects it"
            elif hits:
                return  # allowed: later ones are not asked
        else:
            verb = "allows" if item.allow else "rejects"
            sense = "" if item.matching else "not "
            yield f"filter {number}: {verb} what is {sense}{item.type}, page by page"


def sentence(scheme: Scheme) -> str:
    """`pageout of memory with access rate 0% to 0%, like that for 2m or longer`."""
    pattern = scheme.pattern
    parts = []
    if pattern.access_min_bp or pattern.access_max_bp is not None:
        top = "max" if pattern.access_max_bp is None else format_share(pattern.access_max_bp)
        parts.append(f"access rate {format_share(pattern.access_min_bp)} to {top}")
    if pattern.size_min or pattern.size_max is not None:
        top = "max" if pattern.size_max is None else human_size(pattern.size_max)
        parts.append(f"size {human_size(pattern.size_min)} to {top}")
    if pattern.auto_age:
        parts.append("like that for as long as it takes (auto)")
    elif pattern.age_min_us or pattern.age_max_us is not None:
        top = "longer" if pattern.age_max_us is None else format_duration(pattern.age_max_us)
        parts.append(f"like that for {format_duration(pattern.age_min_us)} to {top}")
    what = " of memory with " + ", ".join(parts) if parts else " of any memory"
    return f"{scheme.action}{what}" if scheme.action is not Action.STAT else f"counting{what}"
