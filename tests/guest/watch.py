"""Watches a load with a page probe of ours, as the monitor process does, and judges what it saw."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.policy import Monitoring, PidTarget, Policy, Userspace
from damos_agent.model.userspace import Snapshot, Work
from damos_agent.userspace.context import Tools
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.page_context import PageContext
from damos_agent.userspace.probe import PageProbe
from tests.load.load import Load
from tests.load.score import Region, Score, score

MONITORING = Monitoring(sample_us=100_000, aggr_us=2_000_000, userspace=Userspace(cpu_bp=5_000))
"""System calls are dear in an emulated guest: with the usual budget it would hardly sample."""


@dataclass(slots=True)
class Watch:
    """A context that watches one load; a policy without schemes."""

    load: Load
    context: PageContext

    def run(self, seconds: float) -> None:
        """Give it its turns for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(max(self.context.due_us / 1e6 - time.monotonic(), 0))
            self.context.turn(time.monotonic_ns() // 1_000)

    def score(self) -> Score:
        """Its last window against the truth of that time."""
        snapshot = self.context.snapshot()
        return score(self.load.truth(snapshot.aggr_us / 1e6), regions_of(snapshot))


def regions_of(snapshot: Snapshot) -> list[Region]:
    return [
        Region(r.start, r.end, r.nr_accesses / snapshot.samples, r.age_us / 1e6)
        for r in snapshot.regions
    ]


def watch(load: Load, probe: PageProbe, monitoring: Monitoring = MONITORING) -> Watch:
    """Close its context in the end."""
    process = load.placement()
    policy = Policy("watch", PidTarget((process.pid,)), (), monitoring=monitoring)
    return Watch(load, PageContext(Work(policy, (process,)), probe, tools()))


def tools() -> Tools:
    """Of this machine; the choice of pages is the same in every run."""
    fs, roots = RealFilesystem(), Roots()
    return Tools(fs, roots, Effects(fs, roots), Random(1))
