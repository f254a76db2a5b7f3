"""What `damos-agent --once --dry-run` prints: the very plan that would have been carried out."""

from __future__ import annotations

import sys

from damos_agent.agent.reconciler import Round
from damos_agent.model.damon import Command, RequirePids, Step, SwitchModule, Write
from damos_agent.model.units import plural


def describe_step(step: Step) -> str:
    """A step as one line, paths below admin/kdamonds/."""
    match step:
        case Write():
            return f"{step.path} <- {step.value or '(empty)'}"
        case Command():
            return f"{step.slot}/state <- {step.word}"
        case SwitchModule():
            return f"module {step.name} {'on' if step.on else 'off'}"
        case RequirePids():
            return f"# only while {', '.join(map(str, step.pids))} exist"


def print_round(done: Round) -> None:
    """The plan on standard output, policy by policy, and what gets nothing and why."""
    lines = []
    for work in done.plan.slots:
        lines.append(f"{work.policy or 'kdamond pool'}: {work.change} ({work.reason})")
        lines += [f"  {describe_step(step)}" for step in work.steps]
    for name, standing in done.standings.items():
        if standing.reason:
            lines.append(f"{name}: {standing.state} ({standing.reason})")
    lines.append(plural(done.plan.writes, "write"))
    sys.stdout.write("\n".join(lines) + "\n")
