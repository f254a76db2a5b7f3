"""Contexts on real processes of this machine, in this very thread."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.policy import Policy
from damos_agent.model.userspace import Work
from damos_agent.userspace.context import Context, Tools
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.mapping import VmaProbe
from damos_agent.userspace.mapping_context import MappingContext
from damos_agent.userspace.page_context import PageContext
from damos_agent.userspace.pte.probe import PteProbe
from tests.load.score import Region


def tools_of(run: Path) -> Tools:
    fs, roots = RealFilesystem(), Roots(run=str(run))
    return Tools(fs, roots, Effects(fs, roots), Random(1))


def pte_context(run: Path, policy: Policy, *processes: Placement) -> PageContext:
    tools = tools_of(run)
    probe = PteProbe(tools.fs, tools.roots)
    return PageContext(Work(policy, processes), probe, tools)


def vma_context(run: Path, policy: Policy, *processes: Placement) -> MappingContext:
    tools = tools_of(run)
    return MappingContext(Work(policy, processes), VmaProbe(tools.roots), tools)


def live(context: Context, seconds: float, each: Callable[[], object] = lambda: None) -> float:
    """Turns as they are due; the share of a core that took, waiting included, `each` left out."""
    begun_s, begun_ns = time.monotonic(), time.thread_time_ns()
    left_out = 0
    since_ns = begun_ns
    while time.monotonic() < begun_s + seconds:
        wait_us = context.due_us - time.monotonic_ns() // 1_000
        if wait_us > 0:
            time.sleep(min(wait_us / 1e6, 0.2))
        if context.due_us <= time.monotonic_ns() // 1_000:
            context.turn(time.monotonic_ns() // 1_000, since_ns)
        since_ns = time.thread_time_ns()
        each()
        left_out += time.thread_time_ns() - since_ns
        since_ns = time.thread_time_ns()
    spent_ns = time.thread_time_ns() - begun_ns - left_out
    return spent_ns / 1e9 / (time.monotonic() - begun_s)


def seen(context: Context, pid: int) -> list[Region]:
    """The last snapshot of a process, as scores want it."""
    snapshot = context.snapshot()
    rows = [r for r in snapshot.regions if r.pid == pid]
    found = [Region(r.start, r.end, r.nr_accesses / snapshot.samples, r.age_us / 1e6) for r in rows]
    return sorted(found)


def descriptors() -> int:
    gc.collect()  # what other tests have left
    return len(os.listdir("/proc/self/fd"))


def locks(run: Path) -> list[str]:
    found = run / "monitors"
    return [path.name for path in found.iterdir()] if found.exists() else []
