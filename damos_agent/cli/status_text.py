"""The agent's status for people: two lines about the agent, one row per scheme."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import click

from damos_agent.cli.table import Column, Row, lay_out
from damos_agent.model.policy import MetricUnit
from damos_agent.model.status import (
    AgentStatus,
    Forecast,
    GoalStatus,
    GuardStatus,
    PolicyState,
    PolicyStatus,
    SchemeOutcome,
)
from damos_agent.model.units import (
    ULONG_MAX,
    format_duration,
    format_share,
    human_size,
    plural,
)
from damos_agent.model.userspace import AgesCheck, Canaries, IdleBytes

_COLORS = {
    PolicyState.ACTIVE: "green",
    PolicyState.PAUSED: "yellow",
    PolicyState.OBSERVING: "cyan",
    PolicyState.WAITING: "blue",
    PolicyState.UNSUPPORTED: "yellow",
    PolicyState.FAILED: "red",
    PolicyState.DRIFTED: "magenta",
}
_BACKENDS = {"userspace": "user space", "kernel+userspace": "kernel and user space"}
_COLUMNS = (
    Column("POLICY"),
    Column("MODE", spare=2),
    Column("BACKEND", spare=3),
    Column("STATE"),
    Column("TARGETS", right=True, spare=4),
    Column("ACTION"),
    Column("APPLIED", right=True),
    Column("LATELY", right=True, spare=1),
    Column("QUOTA", right=True),
)


_ALL_BP: Final = 10_000
_STEPS: Final = {
    "seed": "begins",
    "below_goal": "quota rises",
    "met": "met",
    "over_goal": "quota cut",
    "falling": "on its way down",
    "lagging": "waits for what it did to show",
    "unused": "quota is not used up",
    "no_input": "no input, so the quota falls",
    "at_cap": "at the cap",
}
_OLD_S: Final = 10.0
"""Figures are read once per outcome interval; from here on their age is told."""


def render(status: AgentStatus, width: int | None) -> str:
    """Everything; `width` None for a pipe."""
    lines = [*agent_lines(status), ""]
    if status.policies:
        rows = [row for policy in status.policies for row in _rows(policy)]
        lines += lay_out(_COLUMNS, rows, width)
    else:
        lines.append("no policies")
    if status.rejected:
        lines += ["", click.style("rejected:", fg="red", bold=True)]
        lines += [f"  {text}" for text in status.rejected]
    return "".join(f"{line}\n" for line in lines)


def brief(status: AgentStatus) -> str:
    """One line: `3 policies: 2 active, 1 waiting`."""
    counts = Counter(policy.state for policy in status.policies)
    parts = [f"{counts[state]} {state}" for state in PolicyState if counts[state]]
    if status.rejected:
        parts.append(f"{plural(status.rejected_files, 'file')} rejected")
    if stale := sum(bool(policy.bad_file) for policy in status.policies):
        parts.append(f"{plural(stale, 'file')} with errors")
    if status.compile_error:
        parts.append("the last reload failed")
    total = len(status.policies)
    text = f"{total} policy" if total == 1 else f"{total} policies"
    return f"{text}: {', '.join(parts)}" if parts else text


def agent_lines(status: AgentStatus) -> Iterator[str]:
    """What there is to say about the agent as a whole; troubles get lines of their own."""
    name = click.style(f"damos-agent {status.version}", bold=True)
    up = span(status.now - status.started)
    backend = f"backend {_BACKENDS.get(status.backend, status.backend)}"
    if status.backend_reason:
        backend += f" ({status.backend_reason})"
    yield f"{name} (pid {status.pid}), up {up}, Linux {status.kernel}, {backend}"
    reload = f"reloaded {span(status.now - status.last_reload)} ago" if status.last_reload else ""
    writes = f"{plural(status.sysfs_writes, 'write')} to DAMON"
    yield ", ".join(filter(None, (brief(status), reload, writes)))
    if status.compile_error:
        text = f"the last reload failed, everything goes on as it was: {status.compile_error}"
        yield click.style(text, fg="red")
    elif not status.last_reload_ok:
        yield click.style(
            "the last reload had errors: what it rejected keeps its last good version", fg="red"
        )
    if status.sysfs_write_failures:
        failures = plural(status.sysfs_write_failures, "write")
        yield click.style(f"the kernel refused {failures}", fg="yellow")
    if status.foreign_kdamonds and "somebody else" not in status.backend_reason:
        foreign = plural(status.foreign_kdamonds, "kdamond")
        verb = "is" if status.foreign_kdamonds == 1 else "are"
        yield click.style(f"{foreign} of somebody else {verb} left alone", fg="yellow")
    for policy, count in status.drift.items():
        yield click.style(f"{policy}: changed from outside {plural(count, 'time')}", fg="magenta")


def _rows(policy: PolicyStatus) -> Iterator[Row]:
    backend = _BACKENDS.get(policy.backend, policy.backend)
    backend = f"{backend} {policy.slot}" if policy.slot >= 0 else backend
    state = click.style(policy.state, fg=_COLORS[policy.state], bold=True)
    head = (policy.name, policy.mode, backend, state, str(policy.targets))
    if not policy.schemes:
        yield Row((*head, "-", "-", "-", "-"), (*_target(policy), *_notes(policy)))
    for number, scheme in enumerate(policy.schemes):
        last = number == len(policy.schemes) - 1
        notes = [*_target(policy)] if number == 0 else []
        notes += [f"  {goal_text(goal)}" for goal in scheme.goals]
        if last:
            notes += _notes(policy)
        cells = _would(scheme) if policy.state is PolicyState.OBSERVING else _cells(scheme)
        yield Row((*(head if number == 0 else [""] * 5), *cells), tuple(notes))


def _would(scheme: SchemeOutcome) -> tuple[str, str, str, str]:
    """Of a scheme that only counts, in brackets: what matches now, and what matched lately.

    Where the former is not known: what matched since the scheme was created.
    """
    matched = scheme.sz_tried if scheme.matched_bytes is None else scheme.matched_bytes
    lately = human_size(scheme.sz_tried_delta)
    return scheme.action, f"({human_size(matched)})", f"(+{lately})", _quota(scheme)


def _cells(scheme: SchemeOutcome) -> tuple[str, str, str, str]:
    applied, lately = human_size(scheme.sz_applied), human_size(scheme.sz_applied_delta)
    return scheme.action, applied, f"+{lately}", _quota(scheme)


def _quota(scheme: SchemeOutcome) -> str:
    """The effective quota, and the cap where they differ."""
    if scheme.effective_bytes is None or scheme.effective_bytes >= ULONG_MAX:
        return human_size(scheme.quota_bytes) if scheme.quota_bytes else "-"
    effective = human_size(scheme.effective_bytes)
    if scheme.quota_bytes in (0, scheme.effective_bytes):
        return effective if scheme.effective_bytes else "-"
    number, _, unit = effective.partition(" ")
    cap = human_size(scheme.quota_bytes)
    return f"{number if cap.endswith(f' {unit}') else effective} of {cap}"


def _target(policy: PolicyStatus) -> Iterator[str]:
    if policy.target and policy.target not in policy.reason:
        yield click.style(f"  {policy.target}", dim=True)


def _notes(policy: PolicyStatus) -> Iterator[str]:
    if policy.state is PolicyState.OBSERVING and policy.schemes:
        yield f"  only observes: in brackets {_in_brackets(policy.schemes)}"
    if policy.age_s is not None and policy.age_s >= _OLD_S:
        yield click.style(f"  figures of {span(policy.age_s)} ago", dim=True)
    if policy.reason:
        yield f"  {policy.reason}"
    if policy.guard:
        yield from _guard(policy.guard)
    if policy.forecast and policy.forecast.reason:
        yield f"  {_auto_age(policy.forecast)}"
    if policy.backend == "userspace":
        yield from _monitor(policy)
    for text in policy.notes:
        yield f"  {text}"
    if policy.last_error and policy.last_error != policy.reason:
        yield click.style(f"  last error: {policy.last_error}", fg="red")
    if policy.bad_file:
        yield click.style("  the file has errors, and its last good version counts:", fg="red")
    for text in policy.bad_file:
        yield click.style(f"    {text}", fg="red")


def _guard(guard: GuardStatus) -> Iterator[str]:
    """`the guard allows 25% of the quotas: …`, `page-out may go on in 48s at the earliest`."""
    if 0 < guard.share_bp < _ALL_BP:
        share = format_share(guard.share_bp)
        why = guard.why or "it goes on slowly after a pause"
        yield click.style(f"  the guard allows {share} of the quotas: {why}", fg="yellow")
    if guard.until_s is not None:
        yield f"  page-out may go on in {span(guard.until_s)} at the earliest"


def _auto_age(told: Forecast) -> str:
    if told.age_us is None:
        return f"age: auto has found none yet ({told.reason}): nothing is paged out"
    return f"age: auto is {format_duration(told.age_us)}"


def _in_brackets(schemes: Sequence[SchemeOutcome]) -> str:
    if any(scheme.matched_bytes is None for scheme in schemes):
        return "what matched so far, and lately; the same memory counts at each round"
    return "what matches now, and what matched lately, counted at each round"


def _monitor(policy: PolicyStatus) -> Iterator[str]:
    """Why user space serves it, how, and at what cost."""
    if policy.backend_reason and policy.backend_reason not in policy.reason:
        yield f"  in user space: {policy.backend_reason}"
    if policy.probe:
        cost = f", costs {format_share(policy.cpu_bp)} of a core" if policy.cpu_bp else ""
        steps = f"ages in steps of {_short(policy.aggr_us)}"
        yield f"  probe {policy.probe} (tells by {policy.granularity}), {steps}{cost}"
    if policy.stretch_reason:
        yield click.style(
            f"  slowed down {policy.stretched:g}x: {policy.stretch_reason}", fg="yellow"
        )
    if policy.canaries and policy.canaries.sent_bytes:
        yield f"  {_canaries(policy.canaries)}"
    if policy.ages:
        yield f"  {_ages(policy.ages)}"
    if policy.ages_check:
        yield f"  {_ages_check(policy.ages_check)}"


def _canaries(canaries: Canaries) -> str:
    text = (
        f"canaries: {human_size(canaries.sent_bytes)} sent, {human_size(canaries.back_bytes)} "
        f"came back, {human_size(canaries.spared_bytes)} spared"
    )
    return f"{text}; {canaries.no_effect}" if canaries.no_effect else text


def _ages_check(told: AgesCheck) -> str:
    """`the multi-gen LRU agrees: 60.0 MiB found idle for 2m, by its ages 65.0 MiB at most`."""
    claim = f"{human_size(told.claimed_bytes)} found idle for {format_duration(told.idle_us)}"
    rest = told.why or f"by its ages {human_size(told.room_bytes)} at most"
    return f"the multi-gen LRU {told.verdict}: {claim}, {rest}"


def _ages(ages: Sequence[IdleBytes]) -> str:
    """`idle for at least 4s: 64 MiB; of 80 MiB in all, without addresses`."""
    *idle, everything = ages
    parts = [
        f"{format_duration(one.idle_us)}: {human_size(one.anonymous_bytes + one.file_bytes)}"
        for one in idle
    ]
    whole = human_size(everything.anonymous_bytes + everything.file_bytes)
    return f"idle for at least {', '.join(parts) or 'any time: nothing'}; of {whole} in all"


def goal_text(goal: GoalStatus) -> str:
    """`goal memory_psi_some: 0.4% of 1%`."""
    target = _amount(goal.target, goal.unit)
    by = f" (tuned by the agent: {goal.why})" if goal.tuner == "agent" else ""
    step = f", {_STEPS.get(goal.step, goal.step)}" if goal.step else ""
    if goal.current is None:
        return f"goal {goal.metric}: not measured, target {target}{step}{by}"
    return f"goal {goal.metric}: {_amount(goal.current, goal.unit)} of {target}{step}{by}"


def _amount(value: int, unit: str) -> str:
    match unit:
        case MetricUnit.SIZE:
            return human_size(value)
        case MetricUnit.SHARE:
            return format_share(value)
        case MetricUnit.SHARE_PER_MINUTE:
            return f"{format_share(value)}/min"
    return str(value)


def _short(us: int) -> str:
    """`123ms`, `1.5s`, `2m 5s`: near enough for people."""
    if us >= 60_000_000:
        return span(us / 1_000_000)
    if us >= 1_000_000:
        return f"{us / 1_000_000:.3g}s"
    return f"{us / 1_000:.3g}ms"


def span(seconds: float) -> str:
    """A duration in its two greatest units: `3h 12m`."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
