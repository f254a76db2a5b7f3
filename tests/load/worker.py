# SPDX-License-Identifier: Apache-2.0
"""One process that touches its memory round by round."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from tests.load import options as command_line
from tests.load import smaps
from tests.load.latency import LatencyProbe
from tests.load.memory import Memory, create
from tests.load.progress import Reporter
from tests.load.spelling import spell
from tests.load.stress import ForkStorm, map_tiny, share
from tests.load.toucher import Step, plan
from tests.load.truth import parts, phase_of
from tests.tlb import forget_translations

_HUGE_NAMES = ("AnonHugePages", "ShmemPmdMapped", "FilePmdMapped")


class Worker:
    """Maps everything when made; `words` is its command line."""

    def __init__(self, options: argparse.Namespace, words: list[str]) -> None:
        self._options, self._words, self._layout = options, words, options.layout
        self._memory = create(parts(self._layout), command_line.spec(options))
        self._tiny = map_tiny(options.mappings) if options.mappings else None
        self._plans = [self._plan(phase) for phase in range(self._layout.phases)]
        self._sharers = share(options.sharers)
        self._storm = ForkStorm(options.fork_storm, self._memory)
        self._rounds = self._accesses = 0
        self._began_s = time.monotonic()
        self._reporter = self._report() if options.report else None

    def _plan(self, phase: int) -> list[Step]:
        memory, ranges = self._memory, self._layout.at(phase)
        return plan(memory.mapped, memory.parts, ranges, self._options.write)

    def _report(self) -> Reporter:
        take = LatencyProbe().take if self._options.mmap_latency else list
        return Reporter(self._options.report, self._options.report_every, take)

    def announce(self) -> None:
        """Say what there is and where, in one line."""
        told = {
            "pid": os.getpid(),
            "at_s": time.monotonic(),
            "kind": self._options.kind,
            "layout": spell(self._layout),
            "sharers": self._sharers,
            **described(self._memory),
        }
        _say(told)

    def run(self) -> None:
        """Go on until the time is over, or standard input is when stepped."""
        while time.monotonic() < self._began_s + self._options.seconds:
            if self._options.stepped and not self._obey():
                return
            if not self._options.stepped:
                self._round()
                time.sleep(self._options.pause)
            self._start_over()

    def _obey(self) -> bool:
        """Do as many rounds as the next line says; whether there was one."""
        line = sys.stdin.readline()
        if self._options.flush:
            forget_translations()  # what was looked up ahead since the round before, too
        for _ in range(int(line or 0)):
            self._round()
        _say({"rounds": self._rounds})
        return bool(line)

    def _round(self) -> None:
        steps = self._plans[phase_of(self._layout, self._rounds)]
        for number, step in enumerate(steps):
            step.touch()
            self._accesses += step.pages
            if self._reporter and number:
                self._reporter.look(self._rounds + number / len(steps), self._accesses)
        if self._options.flush:
            forget_translations()
        self._rounds += 1
        self._storm.blow()
        if self._reporter:
            self._reporter.look(self._rounds, self._accesses)

    def _start_over(self) -> None:
        """Exec, once, when asked to: the same pid with another address space."""
        after_s = self._options.exec_after
        if after_s and time.monotonic() >= self._began_s + after_s:
            words = [*self._words, "--exec-after", "0"]
            os.execv(sys.executable, [sys.executable, "-S", "-m", "tests.load", *words])


def described(memory: Memory) -> dict[str, object]:
    """Addresses and sizes in bytes; `parts` are [offset, end offset, address]."""
    mappings, ranges = smaps.read(), memory.ranges()
    return {
        "start": ranges[0][0],
        "size": sum(part.size for part in memory.parts),
        "parts": [[part.start, part.end, memory.address + part.index] for part in memory.parts],
        "resident": smaps.sums(mappings, ranges, "Rss"),
        "huge": sum(smaps.sums(mappings, ranges, name) for name in _HUGE_NAMES),
    }


def _say(told: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
