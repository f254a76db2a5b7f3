"""A real agent process for a benchmark, with directories of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.vm.guestlib import kernel_series

PROJECT = Path(__file__).parents[2]
WAIT_S = 240.0


def wait_for(what: str, condition: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    """Wait until `condition` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.05)
    return found


class Daemon:
    """An agent below `base`; outside a lab guest it never sees the machine's own sysfs."""

    def __init__(self, base: Path, settings: str = "{}", sysfs: Path = Path("/sys")) -> None:
        if kernel_series() is None and sysfs.resolve().is_relative_to("/sys"):
            raise RuntimeError("refused: the machine's own sysfs is for lab guests only")
        base.mkdir(mode=0o755, exist_ok=True)
        base.chmod(0o755)
        self.base, self.sysfs = base, sysfs
        self.policies = base / "etc/damos-agent/policies.d"
        self.policies.mkdir(parents=True)
        sysfs.mkdir(exist_ok=True)
        head = "apiVersion: damos-agent/v1\nkind: Agent\nmetadata: {name: agent}\n"
        rest = settings.removeprefix("{")
        spec = f"{{boot_grace: 0s{'' if rest == '}' else ', '}{rest}"
        (self.policies.parent / "agent.yaml").write_text(f"{head}spec: {spec}\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self, *around: str, program: Sequence[str] = ("-m", "damos_agent.agent.main")
    ) -> None:
        """Start it, with the words `around` before its command, until its first reload is over."""
        command = [
            *around,
            *(sys.executable, *program),
            *("--log-format", "json", "--log-level", "debug"),
            *("--config-root", str(self.base), "--run-root", str(self.base / "run")),
            *("--sysfs-root", str(self.sysfs)),
        ]
        with (self.base / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=PROJECT, stderr=log)
        if not self.wait_event("reload_finished", 1)["ok"]:
            raise RuntimeError(f"settings or policies were refused: {self.events()}")

    @property
    def pid(self) -> int:
        """The agent's own, also when something runs it."""
        return int(self.events("agent_started")[-1]["pid"])

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log so far, or the events of that name."""
        lines = (self.base / "log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line[-1] == "}"]
        return [event for event in found if not name or event["event"] == name]

    def wait_event(self, name: str, count: int) -> dict[str, Any]:
        """The `count`th event of that name, once it is there."""

        def there() -> list[dict[str, Any]]:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the agent ended: {(self.base / 'log').read_text()[-3000:]}")
            return self.events(name)[count - 1 :]

        return dict(wait_for(f"{count} of {name}", there)[0])

    def reload(self) -> None:
        """By signal, until it is over."""
        before = len(self.events("reload_finished"))
        os.kill(self.pid, signal.SIGHUP)
        self.wait_event("reload_finished", before + 1)

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            self._process.wait(WAIT_S)
