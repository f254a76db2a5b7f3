"""A preview for people: per policy what differs and why, old → new."""

from __future__ import annotations

from collections.abc import Iterator

import click

from damos_agent.cli.preview import Later, Preview
from damos_agent.cli.steps import Line, lines_of
from damos_agent.kernel.observe import kdamonds_of
from damos_agent.model.damon import Change, SlotPlan
from damos_agent.model.units import plural

_MARKS = {
    Change.POOL: ("*", "cyan", "all slots"),
    Change.START: ("+", "green", "start in slot {}"),
    Change.RESTART: ("!", "yellow", "restart in slot {}"),
    Change.COMMIT: ("~", "yellow", "commit to slot {}"),
    Change.GOALS: ("~", "yellow", "commit goals to slot {}"),
    Change.TIDY: ("~", "cyan", "tidy slot {}"),
    Change.STOP: ("-", "red", "stop slot {}"),
}
STAND_INS = "<pid> and <… of System RAM> stand for what a machine would show."


def render(preview: Preview, sysfs: str, memory: dict[str, str]) -> str:
    """The whole preview as text."""
    return "".join(f"{line}\n" for line in _render(preview, sysfs, memory))


def _render(preview: Preview, sysfs: str, memory: dict[str, str]) -> Iterator[str]:
    yield _heading(preview)
    for work in preview.plan.slots:
        yield ""
        yield _title(work)
        yield from _steps(work, sysfs, memory)
        if later := preview.later.get(work.policy):
            yield f"  {_then(later)}"
            yield from _steps(later.work, sysfs, memory)
    notes = [*_notes(preview)]
    if notes:
        yield ""
    yield from notes
    yield ""
    yield _total(preview)


def _heading(preview: Preview) -> str:
    features = preview.features
    place = "a fresh machine" if preview.stand_ins else "this machine"
    place = "the copied sysfs" if preview.copied else place
    text = f"Plan for {place}, Linux {features.release} (features: {features.source})"
    return f"{click.style(text, bold=True)}{f'{chr(10)}{STAND_INS}' if preview.stand_ins else ''}"


def _title(work: SlotPlan) -> str:
    mark, color, words = _MARKS[work.change]
    name = f"{work.policy}: " if work.policy else ""
    title = click.style(f"{mark} {name}{words.format(work.slot)}", fg=color, bold=True)
    return f"{title} ({work.reason})" if work.reason else title


def _steps(work: SlotPlan, sysfs: str, memory: dict[str, str]) -> Iterator[str]:
    lines = list(lines_of(work.steps, sysfs, memory.get(work.policy, "")))
    base = f"{kdamonds_of(sysfs)}/" + (f"{work.slot}/" if work.slot >= 0 else "")
    width = max((len(line.path.removeprefix(base)) for line in lines), default=0)
    for line in lines:
        yield f"    {_step(line, base, width)}"


def _step(line: Line, base: str, width: int) -> str:
    if not line.path:
        noun = "process {} is" if len(line.pids) == 1 else "processes {} are"
        there = noun.format(", ".join(line.pids))
        return click.style(f"(only while {there} there)", dim=True)
    path = line.path.removeprefix(base).removeprefix("/")
    value = click.style(line.value or '""', bold=True)
    old = click.style(f"{line.old or chr(34) * 2} → ", dim=True) if line.old is not None else ""
    return f"{path:<{width}}  {old}{value}"


def _then(later: Later) -> str:
    wait = f"{later.after_us / 1_000_000:.1f}s"
    return click.style(
        f"then, {wait} later: this kernel does not limit a quota's first window, so until\n"
        "  it is over the scheme matches nothing",
        fg="cyan",
    )


def _notes(preview: Preview) -> Iterator[str]:
    for name, reason in preview.unsupported.items():
        yield f"{click.style(f'x {name}: unsupported:', fg='red', bold=True)} {reason}"
    for name, reason in preview.userspace.items():
        yield f"{click.style(f'u {name}: in user space:', fg='yellow', bold=True)} {reason}"
    for name, reason in preview.held.items():
        yield f"{click.style(f'# {name}: paused:', fg='yellow', bold=True)} {reason}"
    for name, reason in preview.waiting.items():
        yield f"{click.style(f'. {name}: waiting:', fg='cyan', bold=True)} {reason}"
    for name in preview.in_sync:
        yield f"{click.style(f'= {name}: in sync', fg='green', bold=True)}"


def _total(preview: Preview) -> str:
    changes = sum(work.slot >= 0 for work in preview.plan.slots)
    parts = [f"{changes} to change", f"{len(preview.in_sync)} in sync"]
    if preview.userspace:
        parts.append(f"{len(preview.userspace)} in user space")
    if preview.waiting:
        parts.append(f"{len(preview.waiting)} waiting")
    if preview.unsupported:
        parts.append(f"{len(preview.unsupported)} unsupported")
    writes = plural(preview.writes, "write") if preview.writes else "nothing to write"
    return click.style(f"{', '.join(parts)}; {writes}", bold=True)
