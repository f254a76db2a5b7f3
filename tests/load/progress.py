# SPDX-License-Identifier: Apache-2.0
"""How far a load has come: lines of JSON that a worker appends and a test reads."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Progress:
    """Totals at `at_s` of CLOCK_MONOTONIC.

    `rounds` are fractions when a line falls into a round; `accesses` are pages touched, `cpu_s`
    what touching them took of the CPU. `mmaps` since the line before: how many, and the worst in
    µs.
    """

    at_s: float
    rounds: float
    accesses: int
    cpu_s: float
    mmaps: int = 0
    mmap_worst_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Between two lines; `share` of them gives the slow-down of one run against another."""

    accesses_per_s: float
    accesses_per_cpu_s: float
    rounds_per_s: float
    mmap_worst_us: float


def parse(text: str) -> list[Progress]:
    """Whole lines only; the last may still be under way."""
    lines = text.split("\n")[:-1]
    return [Progress(**json.loads(line)) for line in lines]


def speed(lines: Sequence[Progress]) -> Speed:
    """From the first to the last of at least two lines."""
    first, last = lines[0], lines[-1]
    wall, cpu = last.at_s - first.at_s, last.cpu_s - first.cpu_s
    accesses = last.accesses - first.accesses
    return Speed(
        accesses / wall,
        accesses / cpu if cpu else 0.0,
        (last.rounds - first.rounds) / wall,
        max(line.mmap_worst_us for line in lines[1:]),
    )


def rounds_at(lines: Sequence[Progress], at_s: float) -> float:
    """Rounds done by then, between the lines by the straight line; the ends hold beyond."""
    if at_s <= lines[0].at_s:
        return lines[0].rounds
    for before, after in pairwise(lines):
        if at_s <= after.at_s:
            share = (at_s - before.at_s) / (after.at_s - before.at_s)
            return before.rounds + share * (after.rounds - before.rounds)
    return lines[-1].rounds


class Reporter:
    """Appends a line to `path` every `every_s`, or to standard output for "-"."""

    def __init__(self, path: str, every_s: float, take: Callable[[], list[float]]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._to = 1 if path == "-" else os.open(path, flags, 0o600)
        self._every_s, self._take = every_s, take
        self._due_s = 0.0

    def look(self, rounds: float, accesses: int) -> None:
        """Write a line if it is time. Cheap if not."""
        if time.monotonic() >= self._due_s:
            self.write(rounds, accesses)

    def write(self, rounds: float, accesses: int) -> None:
        """Write a line."""
        now = time.monotonic()
        self._due_s = now + self._every_s
        took = self._take()
        line = Progress(
            now, rounds, accesses, time.thread_time(), len(took), max(took, default=0.0)
        )
        os.write(self._to, f"{json.dumps(asdict(line))}\n".encode())
