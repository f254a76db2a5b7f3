"""The steps of a plan as lines to print: which file gets which text, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from damos_agent.cli.preview import STAND_IN, STAND_IN_RANGE
from damos_agent.kernel.observe import kdamonds_of
from damos_agent.model.damon import Command, RequirePids, Step, SwitchModule, Write
from damos_agent.model.policy import PhysicalTarget, Policy


@dataclass(frozen=True, slots=True)
class Line:
    """`value` goes into the file `path`, which held `old` (None: not known, or a command).

    Without a path the line is a condition: go on only while the processes `pids` are there.
    """

    path: str = ""
    value: str = ""
    old: str | None = None
    pids: tuple[str, ...] = ()


def lines_of(steps: tuple[Step, ...], sysfs: str, memory: str = "") -> Iterator[Line]:
    """One line per step. `memory` names what stands in for addresses."""
    base = kdamonds_of(sysfs)
    for step in steps:
        match step:
            case Write():
                value = _shown(step.path, step.value, memory)
                old = None if step.old is None else _shown(step.path, step.old, memory)
                yield Line(f"{base}/{step.path}", value, old)
            case Command():
                yield Line(f"{base}/{step.slot}/state", step.word)
            case RequirePids():
                yield Line(pids=tuple(_pid(str(pid)) for pid in step.pids))
            case SwitchModule():
                path = f"{sysfs}/module/{step.name}/parameters/enabled"
                yield Line(path, "Y" if step.on else "N", "N" if step.on else "Y")
            case _:
                assert_never(step)


def memory_names(policies: Mapping[str, Policy]) -> dict[str, str]:
    """What each physical policy's stand-in range is called."""
    names = {}
    for name, policy in policies.items():
        if isinstance(policy.target, PhysicalTarget):
            node = policy.target.numa_node
            names[name] = "System RAM" if node is None else f"node {node}"
    return names


def _shown(path: str, value: str, memory: str) -> str:
    if path.endswith("/pid_target"):
        return _pid(value)
    if "/regions/" in path:
        if path.endswith("/start") and value == str(STAND_IN_RANGE.start):
            return f"<start of {memory}>"
        if path.endswith("/end") and value == str(STAND_IN_RANGE.end):
            return f"<end of {memory}>"
    return value


def _pid(value: str) -> str:
    return "<pid>" if value == str(STAND_IN) else value
