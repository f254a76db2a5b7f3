"""An agent, its policies and its workloads inside a lab guest, each test with its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from damos_agent.agent.status import read_status
from damos_agent.model.errors import HostError
from damos_agent.model.status import AgentStatus, PolicyStatus
from tests.vm.guestlib import require_guest

ADMIN = Path("/sys/kernel/mm/damon/admin/kdamonds")
PROJECT = Path(__file__).parents[2]
WAIT_S = 300.0


def wait_for(what: str, condition: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    """Wait until `condition` gives something true, and return that.

    In virtual time the clock may jump while the host is busy: so many looks must be in vain, too.
    """
    deadline = time.monotonic() + seconds
    looks = 0
    while True:
        found = condition()
        if found:
            return found
        looks += 1
        if time.monotonic() > deadline and looks > seconds / 2:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.2)


@dataclass(slots=True)
class Workload:
    """A running `tests.guest.workload`."""

    process: subprocess.Popen[str]
    hot: tuple[int, int]
    cold: tuple[int, int]

    @property
    def pid(self) -> int:
        return self.process.pid

    def rss_mib(self) -> float:
        """Resident memory now."""
        return self._status("VmRSS")

    def swap_mib(self) -> float:
        """Swapped memory now."""
        return self._status("VmSwap")

    def _status(self, name: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"no {name} in status of {self.pid}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def start_workload(hot_mib: int = 8, cold_mib: int = 96, *options: str) -> Workload:
    """Start it and wait until all its memory is there."""
    command = [sys.executable, "-m", "tests.guest.workload", str(hot_mib), str(cold_mib), *options]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    return Workload(process, tuple(told["hot"]), tuple(told["cold"]))


@dataclass(slots=True)
class Rig:
    """`base` holds configuration, run directory and log of one agent. `emulated`: in a guest."""

    base: Path
    process: subprocess.Popen[bytes] | None = None
    workloads: list[Workload] = field(default_factory=list)
    emulated: bool = True
    _seen: list[dict[str, Any]] = field(default_factory=list)
    _offset: int = 0

    @property
    def policies(self) -> Path:
        return self.base / "etc/damos-agent/policies.d"

    @property
    def run(self) -> Path:
        return self.base / "run"

    def setup(self, agent_yaml: str = "") -> None:
        """Directories and agent.yaml."""
        require_guest()
        self.policies.mkdir(parents=True, exist_ok=True)
        spec = agent_yaml or "spec: {outcome_interval: 2s, follow_interval: 1s}"
        if "boot_grace" not in spec:
            spec = spec.replace("spec: {", "spec: {boot_grace: 0s, ", 1)
        text = f"apiVersion: damos-agent/v1\nkind: Agent\nmetadata: {{name: agent}}\n{spec}\n"
        (self.policies.parent / "agent.yaml").write_text(text)

    def put(self, name: str, text: str) -> None:
        """Drop or replace a policy file the way editors do: by renaming.

        In emulation a kdamond takes a good part of a core, which guards would object to.
        """
        if self.emulated and "guard:" not in text:
            text = f"{text.rstrip()}\n  guard: {{cpu: max}}\n"  # at the end, so that lines stay
        temporary = self.policies / f".{name}.tmp"
        temporary.write_text(text)
        os.replace(temporary, self.policies / f"{name}.yaml")

    def remove(self, name: str) -> None:
        (self.policies / f"{name}.yaml").unlink()

    def start(self, *options: str) -> None:
        """Start the agent and wait until its first reload is over."""
        before = len(self.events("reload_finished"))
        with (self.base / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "damos_agent.agent.main", "--log-format", "json"),
                    *("--log-level", "debug", "--config-root", str(self.base)),
                    *("--run-root", str(self.run), *options),
                ],
                cwd=PROJECT,
                stderr=log,
            )
        wait_for(
            "first reload", lambda: len(self.events("reload_finished")) > before or self._died()
        )

    def _died(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the agent ended: {(self.base / 'log').read_text()[-3000:]}")
        return False

    def stop(self) -> int:
        """End it in good order; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """The hard way."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End everything."""
        for workload in self.workloads:
            workload.end()
        if self.process and self.process.poll() is None:
            self.stop()

    def workload(self, hot_mib: int = 8, cold_mib: int = 96, *options: str) -> Workload:
        """A workload that ends with the rig."""
        made = start_workload(hot_mib, cold_mib, *options)
        self.workloads.append(made)
        return made

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The agent's log so far."""
        path = self.base / "log"
        if path.exists():
            with path.open("rb") as log:
                log.seek(self._offset)
                whole, newline, _rest = log.read().rpartition(b"\n")
            self._offset += len(whole) + len(newline)
            lines = [line for line in whole.decode().splitlines() if line.startswith("{")]
            self._seen += [json.loads(line) for line in lines]
        return [event for event in self._seen if not name or event["event"] == name]

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What damosctl answers about this agent and its policies."""
        command = [sys.executable, "-m", "damos_agent.cli.main", "--config-root", str(self.base)]
        return subprocess.run(
            [*command, "--run-root", str(self.run), *words],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )

    def status(self) -> AgentStatus:
        return read_status(str(self.run / "status.sock"))

    def policy(self, name: str) -> PolicyStatus | None:
        """That policy's status, if the agent answers and knows it."""
        try:
            found = [p for p in self.status().policies if p.name == name]
        except HostError:
            return None
        return found[0] if found else None

    def wait_state(self, name: str, *states: str) -> PolicyStatus:
        """Wait until the policy is in one of `states`."""

        def reached() -> PolicyStatus | None:
            self._died()
            now = self.policy(name)
            return now if now and now.state.value in states else None

        try:
            found: PolicyStatus = wait_for(f"{name} to be {states}", reached)
        except AssertionError as error:
            log = (self.base / "log").read_text()[-4000:]
            raise AssertionError(f"{error}; it is {self.policy(name)}\n{log}") from None
        return found


def sysfs(path: str) -> str:
    """A DAMON file's text."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return (ADMIN / path).read_text().rstrip("\n")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def command(slot: int, word: str) -> None:
    """A query to a kdamond, as a test may ask it beside the agent."""
    deadline = time.monotonic() + 10
    while True:
        try:
            (ADMIN / f"{slot}/state").write_text(word)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
