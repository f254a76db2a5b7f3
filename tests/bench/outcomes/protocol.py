# SPDX-License-Identifier: Apache-2.0
"""How a load and whoever measures it speak: a line when ready, `go`, a line when done.

Nothing here needs more than Python itself: the job of numpy runs in another environment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

PHASES = 10
Cold = tuple[int, int]
"""Addresses from the first to below the second."""


def enter(group: str, pid: int) -> None:
    """That process is in the control group."""
    Path(group, "cgroup.procs").write_text(str(pid))


def ready(pid: int) -> None:
    """Say so, and return once told to go."""
    _say({"pid": pid})
    sys.stdin.readline()


def done(steps_s: Sequence[float], cold: Sequence[Cold], cold_bytes: int) -> None:
    """Tell the outcome; memory stays as it is until the other side has looked."""
    _say({"phases_s": phases(steps_s), "cold": list(cold), "cold_bytes": cold_bytes})
    sys.stdin.readline()


def run(step: Callable[[int], None], steps: int, step_s: float) -> list[float]:
    """Do all steps, each when it is due or at once if that is past; how long each took."""
    begun, took = time.monotonic(), []
    for number in range(steps):
        time.sleep(max(begun + number * step_s - time.monotonic(), 0.0))
        started = time.monotonic()
        step(number)
        took.append(time.monotonic() - started)
    return took


def phases(steps_s: Sequence[float]) -> list[float]:
    """The work of each tenth of the steps."""
    borders = [len(steps_s) * number // PHASES for number in range(PHASES + 1)]
    return [sum(steps_s[a:b]) for a, b in pairwise(borders)]


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
