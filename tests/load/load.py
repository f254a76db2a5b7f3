# SPDX-License-Identifier: Apache-2.0
"""A running worker, and the truth about it in absolute addresses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damos_agent.host.process import parse_stat
from damos_agent.model.damon import Placement
from tests.load.layout import PAGE, Range, joined
from tests.load.memory import HUGE
from tests.load.progress import Progress, Speed, parse, rounds_at, speed
from tests.load.score import Region
from tests.load.truth import Layout, ages, truth


@dataclass(slots=True)
class Load:
    """`told`: the worker's line; `report` holds its progress, as old as its interval at most."""

    process: subprocess.Popen[str]
    layout: Layout
    report: Path
    told: dict[str, Any]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def base(self) -> int:
        """Where offset 0 of the layout is."""
        return int(self.told["start"])

    @property
    def granule(self) -> int:
        """Bytes that share one accessed bit."""
        return HUGE if self.told["huge"] else PAGE

    def placement(self) -> Placement:
        """Its pid and start time."""
        stat = parse_stat(Path(f"/proc/{self.pid}/stat").read_text("utf-8"))
        return Placement(stat.pid, stat.start_ticks)

    def parts(self) -> list[Range]:
        """The addresses of all its memory, without gaps."""
        return [(at, at + end - start) for start, end, at in self.told["parts"]]

    def absolute(self, start: int, end: int) -> list[Range]:
        """Where these offsets are; in pieces if there are gaps in between."""
        clipped = ((at - a, max(start, a), min(end, b)) for a, b, at in self.told["parts"])
        return [(by + first, by + last) for by, first, last in clipped if first < last]

    def lines(self) -> list[Progress]:
        """Its progress since it started, or has called exec."""
        text = self.report.read_text("utf-8") if self.report.exists() else ""
        return [line for line in parse(text) if line.at_s >= self.told["at_s"]]

    def accesses(self) -> int:
        """Pages touched so far."""
        lines = self.lines()
        return lines[-1].accesses if lines else 0

    def speed(self, last_s: float = float("inf")) -> Speed:
        """Over the last seconds."""
        lines = self.lines()
        return speed([line for line in lines if line.at_s >= lines[-1].at_s - last_s])

    def rounds_during(self, last_s: float) -> range:
        """The rounds of the last seconds, one at least."""
        lines = self.lines()
        stop = int(lines[-1].rounds)
        return range(min(int(rounds_at(lines, lines[-1].at_s - last_s)), max(0, stop - 1)), stop)

    def truth(self, last_s: float, sample_rounds: int = 1, per: int = 1) -> list[Region]:
        """The rates of the last seconds, and ages in seconds; see `truth.truth` and `ages`."""
        rounds = self.rounds_during(last_s)
        round_s = 1 / self.speed(max(last_s, 1.0)).rounds_per_s
        return self.truth_of(rounds, sample_rounds, per, round_s)

    def truth_of(
        self, rounds: range, sample_rounds: int = 1, per: int = 1, round_s: float = 1.0
    ) -> list[Region]:
        """The same for given rounds."""
        rated = truth(self.layout, rounds, sample_rounds, self.granule)
        aged = ages(self.layout, rounds.stop, per, self.granule)
        return [
            Region(first, last, rate, rounds_old * round_s)
            for (start, end, rate), (_, _, rounds_old) in zip(rated, aged, strict=True)
            for first, last in self.absolute(start, end)
        ]

    def hot(self, last_s: float = 1.0, at_least: float = 0.5) -> list[Range]:
        """What that share of the rounds of the last seconds touched."""
        return _ranges(one for one in self.truth(last_s) if one.rate >= at_least)

    def cold(self, last_s: float = 1.0) -> list[Range]:
        """What no round of the last seconds touched."""
        return _ranges(one for one in self.truth(last_s) if not one.rate)

    def step(self, count: int = 1) -> int:
        """With `--stepped`: do that many rounds; how many there were altogether."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return int(read_line(self.process)["rounds"])

    def after_exec(self) -> None:
        """With `--exec-after`: wait until it has started over, and take its new addresses."""
        self.told = read_line(self.process)

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def read_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next thing it tells."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(f"the load ended with {process.wait()}: {process.args!r}")
    told: dict[str, Any] = json.loads(line)
    return told


def _ranges(regions: Iterable[Region]) -> list[Range]:
    return joined([(one.start, one.end) for one in regions])
