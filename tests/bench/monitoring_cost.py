# SPDX-License-Identifier: Apache-2.0
"""What watching processes from user space costs the monitor, and what it costs them.

The monitor is the agent's own process, run as the agent runs it; after windows for its own CPU time
come windows with it and without (`cost_windows`). Root; on the host.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from damos_agent.model.userspace import ContextReport
from tests.bench.cost_windows import Plan, cpu_percents, measure, mmaps_ms, speeds
from tests.bench.monitor import proven, watching
from tests.guest.measure import meminfo
from tests.load.layout import PAGE, HotCold
from tests.load.load import Load
from tests.load.run import start

GIB = 1 << 30
KINDS = {"anon": "4K", "thp": "THP"}
_SPARE_GIB = 3.0
_SHARED_BYTES = 2 * GIB
"""What several processes have together."""
_MAPPINGS = 10_000

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """So many processes that have `total` bytes together, an eighth of it hot.

    `timed`: a run for the latencies of mmap, too. `mappings`: so many more of a page each.
    """

    kind: str
    total: int
    processes: int = 1
    timed: bool = False
    mappings: int = 0

    @property
    def size_gib(self) -> float:
        return self.total / GIB

    @property
    def name(self) -> str:
        """Of its kind of memory."""
        return KINDS[self.kind] + (f", {self.mappings} mappings" if self.mappings else "")

    def layout(self) -> HotCold:
        each = self.total // self.processes
        each -= each % (16 * PAGE)
        return HotCold(each, each // 4, each // 8)

    @property
    def pause_s(self) -> float:
        """So that a hundred leave something of the machine."""
        return 0.005 * max(1, self.processes // 4)


def setups(*, quick: bool) -> list[Setup]:
    """By size for one process, then by number of processes, then with many mappings.

    Walks over huge pages are too short to be timed.
    """
    sizes = (1,) if quick else (1, 4, 16)
    counts = (10,) if quick else (1, 10, 100)
    alone = [Setup(kind, size * GIB, timed=kind == "anon") for size in sizes for kind in KINDS]
    many = [] if quick else [Setup("anon", GIB, mappings=_MAPPINGS)]
    return alone + [Setup("anon", _SHARED_BYTES, count) for count in counts] + many


def plan(runs: int, *, quick: bool) -> Plan:
    """Windows long enough for some rounds of the mapping probe."""
    return Plan(2, 2.0, 5.0) if quick else Plan(runs, 4.0, 8.0)


def run(
    every: Sequence[Setup], probes: Sequence[str], how: Plan, tell: Callable[[str], None]
) -> Iterator[Figures]:
    """Figures of each setup and probe; those there is no memory for say so."""
    for setup in every:
        free = meminfo()["MemAvailable"] / 1024
        what = {"kind": setup.name, "gib": setup.size_gib, "processes": setup.processes}
        if free < setup.size_gib + _SPARE_GIB:
            yield {**what, "missing": f"not measured: {free:.0f} GiB were free"}
            continue
        tell(f"monitoring_cost: {what}")
        for latency in (False, True) if setup.timed else (False,):
            for figures in _setup(setup, probes, how, latency=latency):
                yield {**what, **figures}


def _setup(setup: Setup, probes: Sequence[str], how: Plan, *, latency: bool) -> Iterator[Figures]:
    options = ["--pause", str(setup.pause_s), "--mappings", str(setup.mappings)]
    options += ["--mmap-latency"] if latency else []
    with ExitStack() as stack:
        loads = [
            stack.enter_context(start(setup.layout(), setup.kind, *options))
            for _ in range(setup.processes)
        ]
        for probe in probes:
            try:
                figures = _probe(probe, loads, how, latency=latency)
            except (OSError, RuntimeError) as error:
                figures = {"missing": f"failed: {error}"}
            yield {"probe": probe, "latency": latency, **figures}


def _probe(probe: str, loads: Sequence[Load], how: Plan, *, latency: bool) -> Figures:
    with proven([watching("cost", probe, loads)]) as (monitor, failures):
        time.sleep(how.settle_s)
        (report,) = monitor.report()
        if report.refused or not report.targets:
            why = report.refused or "; ".join(report.notes) or "nobody is watched"
            return {"missing": why, "failed_tests": failures}
        cpu = [] if latency else cpu_percents(monitor, how, report.aggr_us / 1e6)
        windows = measure(monitor, loads, how, report.aggr_us / 1e6)
        (report,) = monitor.report()
    return {
        "cpu_percent": cpu,
        "speed": speeds(windows),
        "mmap_on_ms": mmaps_ms(windows, on=True),
        "mmap_off_ms": mmaps_ms(windows, on=False),
        "failed_tests": failures,
        **_told(report),
    }


def _told(report: ContextReport) -> Figures:
    names = ("regions", "targets", "sample_us", "aggr_us", "stretched", "stretch_reason", "cpu_bp")
    told: Figures = {name: getattr(report, name) for name in (*names, "stall_us")}
    return {**told, "notes": list(report.notes)}
