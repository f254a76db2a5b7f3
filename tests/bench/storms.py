# SPDX-License-Identifier: Apache-2.0
"""What a storm of short-lived processes costs an agent whose policy they all match.

    python -m tests.bench.storms PROBE

Root; on the host, where the agent sees an empty sysfs and so monitors by itself. Prints one line of
JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.daemon import Daemon, wait_for
from tests.bench.footprint import read_cpu_s
from tests.load.layout import HotCold
from tests.load.load import Load
from tests.load.run import start

MIB = 1 << 20
PROCESSES = 1000
LAYOUT = HotCold(64 * MIB, 16 * MIB, 8 * MIB)
CALM_S = 20.0
_SETTLE_S = 12.0
"""Longer than the agent takes to see who has come and gone."""
_PAUSE_S = "0.002"
_POLICY = """\
apiVersion: damos-agent/v1
kind: Policy
metadata: {{name: storm}}
spec:
  mode: enforce
  backend: userspace
  target: {{process: {{cmdline: '{words}'}}}}
  monitoring: {{userspace: {{probe: {probe}}}}}
  schemes: [{{action: stat}}]
"""


@dataclass(frozen=True, slots=True)
class Used:
    """CPU time of the agent and of its monitor so far, and when that was."""

    at_s: float
    agent_s: float
    monitor_s: float

    def percents(self, before: Used) -> dict[str, float]:
        """Of a core, since `before`."""
        past_s = self.at_s - before.at_s
        return {
            "seconds": past_s,
            "agent_percent": 100 * (self.agent_s - before.agent_s) / past_s,
            "monitor_percent": 100 * (self.monitor_s - before.monitor_s) / past_s,
        }


def measure(probe: str, count: int = PROCESSES) -> dict[str, Any]:
    """Calm before the storm, the storm of a process that is new, and calm after it."""
    with tempfile.TemporaryDirectory() as name:
        # The command line of the parent names a file of ours, and its children have the same one.
        words = str(Path(name, "storm"))
        daemon = Daemon(Path(name, "agent"), sysfs=_sysfs(Path(name, "sys")))
        policy = _POLICY.format(words=words, probe=probe)
        (daemon.policies / "storm.yaml").write_text(policy)
        storm = ("--pause", _PAUSE_S, "--fork-storm", str(count))
        try:
            daemon.start()
            with start(LAYOUT, "anon", "--file", words):
                calm = _window(daemon, CALM_S)
            with start(LAYOUT, "anon", "--file", words, *storm) as parent:
                stormy = _storm(daemon.pid, parent, count)
                after = _window(daemon, CALM_S)
        finally:
            daemon.stop()
    return {"probe": probe, "processes": count, "calm": calm, "storm": stormy, "after": after}


def _sysfs(place: Path) -> Path:
    """Without DAMON; the page table probe reads the kernel's types."""
    (place / "kernel").mkdir(parents=True)
    (place / "kernel/btf").symlink_to("/sys/kernel/btf")
    return place


def _window(daemon: Daemon, seconds: float) -> dict[str, float]:
    """Once the parent is watched."""
    wait_for("the policy to be in force", lambda: _state(daemon) == "active")
    time.sleep(_SETTLE_S)
    before = _used(daemon.pid)
    time.sleep(seconds)
    return _used(daemon.pid).percents(before)


def _state(daemon: Daemon) -> str:
    """Of the policy; RuntimeError when it cannot be served."""
    told = daemon.events("policy_state_changed")
    if told and told[-1]["state"] == "unsupported":
        raise RuntimeError(told[-1]["reason"])
    return str(told[-1]["state"]) if told else ""


def _storm(agent: int, parent: Load, count: int) -> dict[str, float]:
    before = _used(agent)
    wait_for("the storm's end", lambda: (lines := parent.lines()) and lines[-1].rounds >= count)
    return _used(agent).percents(before)


def _used(agent: int) -> Used:
    monitor = _monitor(agent)
    return Used(time.monotonic(), read_cpu_s(agent), read_cpu_s(monitor) if monitor else 0.0)


def _monitor(agent: int) -> int:
    """Its pid; 0 for none."""
    for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if b"damos_agent.userspace.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return 0


def main() -> None:
    print(json.dumps(measure(sys.argv[1])))


if __name__ == "__main__":
    main()
