"""What there is to explain of a policy, in words and as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import click

from damos_agent.algo.explain import Condition, Verdict, by_age, find, judge, sentence
from damos_agent.algo.overlay import resolved
from damos_agent.algo.watermarks import free_permil
from damos_agent.cli.session import Session
from damos_agent.cli.status_text import goal_text, span
from damos_agent.host.memory import read_meminfo
from damos_agent.model.codec import encode
from damos_agent.model.errors import DamosError
from damos_agent.model.feature import Features
from damos_agent.model.policy import Policy
from damos_agent.model.status import Forecast, GuardStatus, PolicyStatus, SchemeOutcome
from damos_agent.model.units import ULONG_MAX, format_duration, format_share, human_size
from damos_agent.model.userspace import Snapshot, SnapshotRegion

_ALL_BP: Final = 10_000
_LADDER: Final = tuple(
    seconds * 1_000_000 for seconds in (1, 5, 15, 30, 60, 120, 300, 600, 1_800, 3_600)
)


@dataclass(frozen=True, slots=True)
class Story:
    """`policy`: as it stands in its file, None if that is bad or gone; `snapshot`: its regions, or
    `no_snapshot` why there are none. `outcome_us`: what `lately` means.
    """

    status: PolicyStatus
    policy: Policy | None
    features: Features
    outcome_us: int
    snapshot: Snapshot | None
    no_snapshot: str = ""


def tell(story: Story) -> Iterator[str]:
    """The policy as a whole, then scheme by scheme."""
    status = story.status
    where = "user space" if status.backend == "userspace" else f"the {status.backend}"
    state = click.style(status.state, bold=True)
    yield f"{click.style(status.name, bold=True)}: {state} in {where}, mode {status.mode}"
    if status.reason:
        yield f"  why: {status.reason}"
    if status.backend_reason:
        yield f"  why not the kernel: {status.backend_reason}"
    if status.worth:
        worth = status.worth
        yield f"  what limits it: {worth.limited_by} ({worth.reason})"
        if worth.net is not None:
            gross = human_size(worth.gross or 0)
            sign, net = ("-" if worth.net < 0 else ""), human_size(abs(worth.net))
            yield f"  gained: {sign}{net} net; {gross} of its target is in swap"
    if status.guard:
        yield from _guard(status.guard)
    for scheme in status.schemes:
        yield ""
        yield from _scheme(story, scheme)
    if status.forecast:
        yield ""
        yield from _forecast(status.forecast, status.mode)


def _guard(guard: GuardStatus) -> Iterator[str]:
    share = format_share(guard.share_bp)
    yield f"  guard: {guard.stage}, allows {share} of the quotas"
    for name, level in sorted(guard.levels.items(), key=lambda item: -(item[1] or _ALL_BP)):
        used = "cannot be read" if level is None else f"{level / 100:.0f}% of its limit"
        yield f"    {name:<12} {used}"
    if guard.until_s is not None:
        yield f"    holds off for {span(guard.until_s)} more"


_REASONS: Final = {
    "learning": "none yet: it has not been watched for long enough",
    "settling": "none yet: it is within the budget, but not by enough or not for long enough",
    "over_budget_everywhere": "none: at every age more would come back than the budget allows",
}


def _forecast(told: Forecast, mode: str) -> Iterator[str]:
    yield f"by its history of accesses (working set {human_size(told.working_set)})"
    if told.why:
        yield f"  regions cannot be had: {told.why}"
    if told.reason:
        age = format_duration(told.age_us) if told.age_us is not None else ""
        yield f"  age: auto is {age or _REASONS.get(told.reason, told.reason)}"
    for one in told.schemes:
        verb = "would page out" if mode == "observe" else "pages out"
        back = ""
        if one.back is not None and one.back_bp is not None:
            back = (
                f"; {human_size(one.back)} a minute ({format_share(one.back_bp)}) would come back"
            )
        yield (
            f"  scheme {one.index}: {human_size(one.matched)} match, {human_size(one.first)} go at "
            f"once; {verb} {human_size(one.per_s)} a second{back}"
        )
    for row in told.ages:
        if not row.cold and not row.back:
            continue
        most = format_share(row.at_most_bp)
        known = f"{human_size(row.back)} a minute come back, {most} of the working set at most"
        text = known if row.enough else "not watched for long enough"
        yield f"  idle for {format_duration(row.age_us):>4}: {human_size(row.cold)}; {text}"


def _scheme(story: Story, told: SchemeOutcome) -> Iterator[str]:
    policy = story.policy
    scheme = policy.schemes[told.index] if policy and told.index < len(policy.schemes) else None
    what = sentence(scheme) if scheme else told.action
    yield f"scheme {told.index}: {what}"
    yield f"  quota: {_quota(told)}"
    if scheme and scheme.quota:
        per = format_duration(scheme.quota.interval_us)
        caps = [human_size(scheme.quota.size)] if scheme.quota.size else []
        caps += [f"{format_duration(scheme.quota.time_us)} of work"] if scheme.quota.time_us else []
        yield f"    the policy allows {' and '.join(caps) or 'anything'} in {per}"
    elif scheme:
        yield "    the policy names none"
    guard = story.status.guard
    if guard and guard.share_bp < _ALL_BP and told.action == "pageout":
        yield f"    the guard allows {format_share(guard.share_bp)} of that: {guard.why}"
    for goal in told.goals:
        yield f"    {goal_text(goal)}"
    lately = format_duration(story.outcome_us)
    applied, tried = human_size(told.sz_applied_delta), human_size(told.sz_tried_delta)
    yield f"  in the last {lately}: tried {tried}, applied {applied}"
    if told.qt_exceeds_delta:
        yield f"    the quota was used up {told.qt_exceeds_delta} times: what is coldest goes first"


def _quota(told: SchemeOutcome) -> str:
    if told.effective_bytes is not None and told.effective_bytes < ULONG_MAX:
        return f"{human_size(told.effective_bytes)} are allowed now"
    return f"{human_size(told.quota_bytes)} as configured" if told.quota_bytes else "no limit"


def tell_regions(
    story: Story, session: Session, address: int | None, pid: int | None
) -> Iterator[str]:
    """What memory there is by its idle time, and the verdicts on one address."""
    yield ""
    if story.snapshot is None:
        yield f"regions: {story.no_snapshot}"
        return
    snapshot = story.snapshot
    whole = sum(one.end - one.start for one in snapshot.regions)
    yield f"regions: {len(snapshot.regions)}, {human_size(whole)} of addresses"
    for age, size in by_age(snapshot, _LADDER):
        if size:
            yield f"  without access for {format_duration(age):>4} or longer: {human_size(size)}"
    if address is not None:
        yield ""
        yield from _verdicts(story, session, address, pid)


def _verdicts(story: Story, session: Session, address: int, pid: int | None) -> Iterator[str]:
    assert story.snapshot is not None  # noqa: S101  # told by the caller
    regions = find(story.snapshot, address, pid)
    if not regions:
        yield f"{address:#x}: no region holds it; it is not monitored, or not mapped"
    for region in regions:
        samples = max(story.snapshot.samples, 1)
        rate = format_share(region.nr_accesses * _ALL_BP // samples)
        size, age = human_size(region.end - region.start), format_duration(region.age_us)
        whose = f" of process {region.pid}" if region.pid else ""
        yield f"{region.start:#x}-{region.end:#x}{whose}: {size}, access rate {rate} for {age}"
        for verdict in judged(story, region, _free(session)):
            yield from _verdict(verdict)


def _verdict(verdict: Verdict) -> Iterator[str]:
    head = f"  scheme {verdict.scheme} ({verdict.action}):"
    if not verdict.matches:
        yield f"{head} does not match"
    elif verdict.why:
        yield f"{head} matches, but"
    else:
        yield f"{head} matches, and nothing stands in its way"
    for text in verdict.why:
        yield f"    {text}"


def judged(story: Story, region: SnapshotRegion, free: int | None) -> list[Verdict]:
    """Every scheme's verdict on a region."""
    if story.policy is None or story.snapshot is None:
        return []
    found = []
    auto_us = story.status.forecast.age_us if story.status.forecast else None
    for index, written in enumerate(story.policy.schemes):
        scheme = replace(written, pattern=resolved(written.pattern, auto_us))
        told = next((one for one in story.status.schemes if one.index == index), None)
        held = story.status.reason if story.status.state == "paused" else ""
        if story.status.state == "observing":
            held = "the policy only observes"
        condition = Condition(
            held,
            free,
            told.qt_exceeds_delta if told else 0,
            told.effective_bytes if told else None,
        )
        found.append(judge(region, story.snapshot, scheme, index, condition, story.features))
    return found


def _free(session: Session) -> int | None:
    try:
        info = read_meminfo(session.fs, session.roots)
    except DamosError:
        return None
    return free_permil(info.get("MemFree", 0), info.get("MemTotal", 0))


def document_of(story: Story, address: int | None, pid: int | None) -> dict[str, Any]:
    """The same for programs."""
    document: dict[str, Any] = {"status": encode(story.status), "regions": None}
    if story.snapshot is not None:
        ages = [{"idle_us": age, "bytes": size} for age, size in by_age(story.snapshot, _LADDER)]
        document["regions"] = {"count": len(story.snapshot.regions), "idle": ages}
        if address is not None:
            document["address"] = [
                {"region": encode(one), "verdicts": encode(judged(story, one, None))}
                for one in find(story.snapshot, address, pid)
            ]
    return document
