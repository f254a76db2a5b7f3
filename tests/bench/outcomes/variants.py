# SPDX-License-Identifier: Apache-2.0
"""How each way to reclaim is started inside a lab guest, and ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench.daemon import PROJECT, Daemon, wait_for
from tests.bench.outcomes.catalogue import NONE, OURS, POLICY
from tests.bench.outcomes.meter import PROC
from tests.bench.policies import put
from tests.vm.guestlib import require_guest

GROUP = "/bench"
_RECLAIM = Path("/sys/module/damon_reclaim/parameters")
_AGE = ("--damos_age", "5s", "max")
_QUOTA = ("--damos_quotas", "100ms", "50M", "1s", "0%", "0%", "100%")
_GOAL = ("--damos_quota_goal", "some_mem_psi_us", "10000")
_SEED = Path(__file__).parent / "policies"


@dataclass(frozen=True, slots=True)
class Place:
    """`pids` are the loads, `groups` their control groups; `base` is a directory to write to."""

    pids: Sequence[int]
    groups: Sequence[Path]
    base: Path
    damo: str


Agents = Sequence[int]
"""Processes that stay and whose memory counts."""
Started = AbstractContextManager[Agents]


def start(name: str, place: Place) -> Started:
    """It works within the block."""
    require_guest()
    ways: dict[str, Callable[[], Started]] = {
        NONE: _nothing,
        "damo pageout": lambda: _damo(place),
        "damo quota": lambda: _damo(place, *_QUOTA),
        "damo PSI": lambda: _damo(place, *_QUOTA, *_GOAL),
        "DAMON_RECLAIM": _damon_reclaim,
        "senpai": lambda: _senpai(place),
        OURS: lambda: _agent(place, shipped(Path(PROJECT, POLICY).read_text())),
        "seed pageout": lambda: _agent(place, (_SEED / "seed-pageout.yaml").read_text()),
        "seed quota": lambda: _agent(place, (_SEED / "seed-quota.yaml").read_text()),
        "seed goal": lambda: _agent(place, (_SEED / "seed-goal.yaml").read_text()),
    }
    return ways[name]()


def shipped(text: str) -> str:
    """The policy as it is but for what an operator must write: its target and `enforce`."""
    document: dict[str, Any] = yaml.safe_load(text)
    document["metadata"]["name"] = "bench"
    document["spec"] |= {"mode": "enforce", "target": {"cgroup": {"path": GROUP}}}
    return yaml.safe_dump(document, sort_keys=False)


@contextmanager
def _nothing() -> Iterator[Agents]:
    yield ()


@contextmanager
def _damo(place: Place, *quota: str) -> Iterator[Agents]:
    targets = [word for pid in place.pids for word in ("--damon_target", "--target_pid", str(pid))]
    words = [
        *(place.damo, "start", "--ops", "vaddr", *targets),
        *("--monitoring_intervals", "5ms", "100ms", "1s"),
        *("--monitoring_nr_regions_range", "10", "1000"),
        *("--damos_action", "pageout", "--damos_sz_region", "4K", "max"),
        *("--damos_access_rate", "0%", "0%", *_AGE, *quota),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"damo failed: {done.stdout}{done.stderr}")
    # `cell` resets DAMON in the end.
    yield ()


@contextmanager
def _damon_reclaim() -> Iterator[Agents]:
    """Its defaults but for pressure; watermarks would keep it off while half of memory is free."""
    for name, value in (
        *(("wmarks_high", 1000), ("wmarks_mid", 999), ("wmarks_low", 0)),
        *(("quota_mem_pressure_us", 1000), ("enabled", "Y")),
    ):
        (_RECLAIM / name).write_text(str(value))
    try:
        yield ()
    finally:
        (_RECLAIM / "enabled").write_text("N")


@contextmanager
def _senpai(place: Place) -> Iterator[Agents]:
    command = [sys.executable, "-m", "tests.bench.outcomes.senpai", *map(str, place.groups)]
    process = subprocess.Popen(command, cwd=PROJECT)
    try:
        yield (process.pid,)
        if process.poll() is not None:
            raise RuntimeError("senpai has ended")
    finally:
        process.kill()
        process.wait()


@contextmanager
def _agent(place: Place, policy: str) -> Iterator[Agents]:
    daemon = Daemon(place.base / "agent")
    put(daemon.policies, "bench", policy)
    daemon.start()
    try:
        daemon.wait_event("slot_started", 1)
        wait_for("the compiler to end", lambda: not _children(daemon.pid))
        yield (daemon.pid,)
        if not Path(PROC, str(daemon.pid)).exists():
            raise RuntimeError("the agent has ended")
    finally:
        daemon.stop()


def _children(pid: int) -> str:
    return (PROC / f"{pid}/task/{pid}/children").read_text().strip()
