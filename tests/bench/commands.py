"""Wall and CPU time of `damosctl --help` and of `damosctl validate` on 100 policies."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.policies import numbered
from tests.bench.spread import Spread, spread

POLICIES = 100


@dataclass(frozen=True, slots=True)
class Timing:
    """`cpu` is what `wall` comes to on a machine with nothing else to do."""

    wall: Spread
    cpu: Spread


def measure(runs: int, tell: Callable[[str], None]) -> dict[str, Timing]:
    """Times by command line. A first run of each, which warms caches, is left out."""
    program = str(Path(sys.executable).with_name("damosctl"))
    with tempfile.TemporaryDirectory() as directory:
        numbered(Path(directory), POLICIES)
        commands = {
            "damosctl --help": [program, "--help"],
            f"damosctl validate ({POLICIES} policies)": [program, "validate", directory],
        }
        return {name: _time(name, words, runs, tell) for name, words in commands.items()}


def _time(name: str, words: list[str], runs: int, tell: Callable[[str], None]) -> Timing:
    walls, cpus = [], []
    for number in range(runs + 1):
        begun, used = time.monotonic(), _children_cpu_s()
        subprocess.run(words, check=True, capture_output=True)
        walls.append(1e3 * (time.monotonic() - begun))
        cpus.append(1e3 * (_children_cpu_s() - used))
        tell(f"{name}: run {number} of {runs}: {walls[-1]:.0f} ms")
    return Timing(spread(walls[1:], "ms"), spread(cpus[1:], "ms"))


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
