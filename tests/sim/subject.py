"""What the contract suite runs against: the simulation, or the real sysfs inside a lab guest."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from damos_agent.host.filesystem import Filesystem, RealFilesystem
from tests.sim.damon import ROOT, SimulatedDamon
from tests.sim.versions import Version, parse_version
from tests.vm.guest import GUEST_VARIABLE

GUEST = GUEST_VARIABLE in os.environ
_LAB = Path("/run/damos-lab")
CONTEXT = "kdamonds/0/contexts/0"
SCHEME = f"{CONTEXT}/schemes/0"
TARGET = f"{CONTEXT}/targets/0"
STATE = "kdamonds/0/state"


class World(Protocol):
    """Processes and time around a DAMON."""

    def spawn(self) -> int:
        """Start a process that stays; its pid."""
        ...

    def kill(self, pid: int) -> None:
        """End and reap it."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


@dataclass(slots=True)
class SimulatedWorld:
    """The simulation's processes and clock."""

    damon: SimulatedDamon

    def spawn(self) -> int:
        return self.damon.spawn()

    def kill(self, pid: int) -> None:
        self.damon.kill(pid)

    def sleep(self, seconds: float) -> None:
        self.damon.advance(seconds)


@dataclass(slots=True)
class GuestWorld:
    """Real processes and real time."""

    children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def spawn(self) -> int:
        """A process that has answered once, so all its memory is mapped.

        Right after Popen it is still in the middle of execve; a kdamond started then finds no
        three regions and stays blind until its next update.
        """
        child = subprocess.Popen(["cat"], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"x")
        assert child.stdout.read(1) == b"x"
        self.children[child.pid] = child
        return child.pid

    def kill(self, pid: int) -> None:
        child = self.children.pop(pid)
        child.kill()
        child.communicate()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(slots=True)
class Subject:
    """A DAMON under test. Paths are relative to `root`; values come without the newline."""

    fs: Filesystem
    world: World
    kernel: Version
    root: str = ROOT

    def get(self, path: str) -> str:
        """The value of a file."""
        return self.fs.read(f"{self.root}/{path}").removesuffix("\n")

    def put(self, path: str, text: str | int) -> None:
        """Write a file."""
        self.fs.write(f"{self.root}/{path}", str(text))

    def refusal(self, path: str, text: str | int) -> int:
        """The errno a write meets, 0 for none."""
        try:
            self.put(path, text)
        except OSError as error:
            return error.errno or -1
        return 0

    def has(self, path: str) -> bool:
        """Whether a file or directory exists."""
        return self.fs.exists(f"{self.root}/{path}")

    def ls(self, path: str) -> set[str]:
        """Names in a directory."""
        return set(self.fs.listdir(f"{self.root}/{path}"))

    def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> bool:
        """Wait for `condition`, at most `seconds`."""
        for _ in range(round(seconds / 0.1)):
            if condition():
                return True
            self.world.sleep(0.1)
        return condition()

    def stage(self, pid: int | None = None) -> None:
        """One vaddr kdamond on `pid` with one stat scheme that matches everything.

        Update interval one minute, aggregation 50 ms, so that a test needs no long waits.
        """
        self.put("kdamonds/nr_kdamonds", 1)
        self.put("kdamonds/0/contexts/nr_contexts", 1)
        self.put(f"{CONTEXT}/monitoring_attrs/intervals/aggr_us", 50000)
        self.put(f"{CONTEXT}/targets/nr_targets", 1)
        if pid is not None:
            self.put(f"{TARGET}/pid_target", pid)
        self.put(f"{CONTEXT}/schemes/nr_schemes", 1)
        self.widen()

    def widen(self, scheme: int = 0) -> None:
        """Let a scheme match everything."""
        pattern = f"{CONTEXT}/schemes/{scheme}/access_pattern"
        self.put(f"{pattern}/sz/max", (1 << 64) - 1)
        self.put(f"{pattern}/nr_accesses/max", (1 << 32) - 1)
        self.put(f"{pattern}/age/max", (1 << 32) - 1)

    def tried(self, scheme: int = 0) -> list[dict[str, int]]:
        """The regions of a fresh `update_schemes_tried_regions`, by address.

        ≤ 6.13 stop collecting after two apply intervals of wall-clock time, and on a slow
        machine may then have seen nothing; so an empty answer of theirs is asked for again.
        """
        for _ in range(5):
            self.put(STATE, "update_schemes_tried_regions")
            if (found := self._collected(scheme)) or self.kernel >= (6, 14):
                return found
        return []

    def _collected(self, scheme: int) -> list[dict[str, int]]:
        base = f"{CONTEXT}/schemes/{scheme}/tried_regions"
        names = [name for name in self.ls(base) if name.isdigit()]
        keys = ("start", "end", "nr_accesses", "age")
        found = [{key: int(self.get(f"{base}/{name}/{key}")) for key in keys} for name in names]
        return sorted(found, key=lambda region: region["start"])

    def parameter(self, module: str, name: str = "enabled") -> str:
        """Path of a module parameter."""
        base = self.root.removesuffix("/kernel/mm/damon/admin")
        return f"{base}/module/damon_{module}/parameters/{name}"

    def cleanup(self) -> None:
        """Everything off and released."""
        for module in ("stat", "reclaim", "lru_sort"):
            path = self.parameter(module)
            if self.fs.exists(path) and self.fs.read(path).startswith("Y"):
                self.fs.write(path, "N")
        for index in range(int(self.get("kdamonds/nr_kdamonds"))):
            if self.get(f"kdamonds/{index}/state") == "on":
                self.put(f"kdamonds/{index}/state", "off")
        self.put("kdamonds/nr_kdamonds", 0)


def simulated(kernel: str) -> Subject:
    """A fresh simulation of that release."""
    damon = SimulatedDamon(kernel)
    return Subject(damon, SimulatedWorld(damon), damon.kernel)


def real() -> Subject:
    """The running kernel's own DAMON. Refuses to work outside a lab guest."""
    lab = os.environ.get(GUEST_VARIABLE, "")
    if not (lab and _LAB.is_dir() and platform.release().startswith(lab + ".")):
        raise RuntimeError("this is no lab guest: DAMON stays untouched")
    return Subject(RealFilesystem(), GuestWorld(), parse_version(platform.release()))
