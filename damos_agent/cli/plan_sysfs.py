"""A preview as shell lines, one per write(2), in order; everything else is a comment."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from damos_agent.cli.preview import Preview
from damos_agent.cli.steps import Line, lines_of
from damos_agent.model.damon import SlotPlan


def render(preview: Preview, sysfs: str, memory: dict[str, str]) -> str:
    """`echo VALUE > PATH` lines."""
    return "".join(f"{line}\n" for line in _render(preview, sysfs, memory))


def _render(preview: Preview, sysfs: str, memory: dict[str, str]) -> Iterator[str]:
    if preview.stand_ins:
        yield f"# Linux {preview.features.release}; <...> stands for what a machine would show"
    for work in preview.plan.slots:
        name = f"{work.policy}: " if work.policy else ""
        yield f"# {name}{work.change} ({work.reason})"
        yield from _shell(work, sysfs, memory)
    # The second rounds come last: no policy waits for the quota window of another.
    for name, later in preview.later.items():
        yield f"# {name}: {later.work.change}, {later.after_us / 1_000_000:.1f}s after that"
        yield from _shell(later.work, sysfs, memory)
    for name, reason in preview.userspace.items():
        yield f"# {name}: in user space: {reason}"
    for name, reason in preview.unsupported.items():
        yield f"# {name}: unsupported: {reason}"
    for name, reason in preview.waiting.items():
        yield f"# {name}: waiting: {reason}"


def _shell(work: SlotPlan, sysfs: str, memory: dict[str, str]) -> Iterator[str]:
    for line in lines_of(work.steps, sysfs, memory.get(work.policy, "")):
        yield _line(line)


def _line(line: Line) -> str:
    if not line.path:
        return f"# go on only while these processes live: {' '.join(line.pids)}"
    return f"echo {shlex.quote(line.value)} > {shlex.quote(line.path)}"
