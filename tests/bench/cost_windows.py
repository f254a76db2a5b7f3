# SPDX-License-Identifier: Apache-2.0
"""Windows with the monitor running and without, in turn within one run, and what they come to."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.monitor import Monitor
from tests.load.load import Load
from tests.load.progress import Progress, speed

_ROUNDS_FOR_A_MEAN = 6


@dataclass(frozen=True, slots=True)
class Window:
    """`on`: the monitor ran. `mmap_us`: the worst of the loads."""

    on: bool
    accesses_per_cpu_s: float
    mmap_us: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`pairs` of windows of `window_s`, after `settle_s`; one with and one without each."""

    pairs: int
    window_s: float
    settle_s: float

    def for_rounds(self, aggr_s: float) -> float:
        """Seconds of a window that holds a round, unless rounds are very rare."""
        return min(max(self.window_s, aggr_s), 4 * self.window_s)

    def for_a_mean(self, aggr_s: float) -> float:
        """Seconds of a window in which a round more or less changes little."""
        return max(self.window_s, _ROUNDS_FOR_A_MEAN * aggr_s)


def cpu_percents(monitor: Monitor, plan: Plan, aggr_s: float) -> list[float]:
    """What it takes of a core, by windows on end.

    Before it is ever frozen: it would earn its budget meanwhile, and spend it later.
    """
    found = []
    for _ in range(plan.pairs):
        began, used = time.monotonic(), monitor.cpu_s()
        time.sleep(plan.for_a_mean(aggr_s))
        found.append(100 * (monitor.cpu_s() - used) / (time.monotonic() - began))
    return found


def measure(monitor: Monitor, loads: Sequence[Load], plan: Plan, aggr_s: float) -> list[Window]:
    """In each pair the one that comes first is drawn by lot.

    A thawed monitor has something to do at once; the window begins at any point of its round
    after that, so that it holds as much of its work as any other time of that length.
    """
    lots, found = random.Random(), []
    window_s = plan.for_rounds(aggr_s)
    for _ in range(plan.pairs):
        for on in lots.sample((True, False), 2):
            (monitor.thaw if on else monitor.freeze)()
            time.sleep(lots.uniform(0.5, 0.5 + (aggr_s if on else 0)))
            found.append(_window(monitor, loads, window_s, on=on))
    monitor.thaw()
    return found


def _window(monitor: Monitor, loads: Sequence[Load], seconds: float, *, on: bool) -> Window:
    began = time.monotonic()
    time.sleep(seconds)
    ended = time.monotonic()
    time.sleep(0.3)  # for the loads' lines of it
    speeds = [speed(lines) for load in loads if (lines := between(load.lines(), began, ended))]
    if not speeds:
        raise RuntimeError("no load has told its progress: windows are too short")
    told = [one for one in speeds if one.accesses_per_cpu_s]
    return Window(
        on,
        sum(one.accesses_per_cpu_s for one in told) / max(len(told), 1),
        max(one.mmap_worst_us for one in speeds),
    )


def between(lines: Sequence[Progress], began: float, ended: float) -> list[Progress]:
    """Those of that time, if there are two at least."""
    found = [line for line in lines if began <= line.at_s <= ended]
    return found if len(found) > 1 else []


def speeds(windows: Sequence[Window]) -> list[float]:
    """Of each pair, the target's accesses per CPU-second with the monitor by those without."""
    return [on.accesses_per_cpu_s / off.accesses_per_cpu_s for on, off in pairs(windows)]


def pairs(windows: Sequence[Window]) -> list[tuple[Window, Window]]:
    """(with, without), as they were measured one after the other."""
    both = zip(windows[::2], windows[1::2], strict=True)
    return [(one, other) if one.on else (other, one) for one, other in both]


def mmaps_ms(windows: Sequence[Window], *, on: bool) -> list[float]:
    """The worst latency of each window."""
    return [one.mmap_us / 1000 for one in windows if one.on is on]
