"""A preview for programs."""

from __future__ import annotations

import json
from typing import Any

from damos_agent.cli.preview import Preview
from damos_agent.cli.steps import Line, lines_of
from damos_agent.model.damon import SlotPlan


def render(preview: Preview, sysfs: str, memory: dict[str, str]) -> str:
    """One object; `steps` hold either `path` and `value`, or `require_pids`."""
    changes = []
    for work in preview.plan.slots:
        change = _change(work, sysfs, memory)
        if later := preview.later.get(work.policy):
            follow = _change(later.work, sysfs, memory)
            change["later"] = {"after_us": later.after_us, "steps": follow["steps"]}
        changes.append(change)
    document = {
        "kernel": preview.features.release,
        "source": preview.features.source,
        "stand_ins": preview.stand_ins,
        "writes": preview.writes,
        "changes": changes,
        "in_sync": list(preview.in_sync),
        "held": preview.held,
        "waiting": preview.waiting,
        "userspace": preview.userspace,
        "unsupported": preview.unsupported,
    }
    return json.dumps(document, indent=2) + "\n"


def _change(work: SlotPlan, sysfs: str, memory: dict[str, str]) -> dict[str, Any]:
    lines = lines_of(work.steps, sysfs, memory.get(work.policy, ""))
    return {
        "policy": work.policy,
        "slot": work.slot,
        "change": work.change,
        "reason": work.reason,
        "steps": [_step(line) for line in lines],
    }


def _step(line: Line) -> dict[str, Any]:
    if not line.path:
        return {"require_pids": list(line.pids)}
    return {"path": line.path, "value": line.value, "old": line.old}
