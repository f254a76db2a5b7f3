# SPDX-License-Identifier: Apache-2.0
"""What the guest's kernel says while a load runs: memory, refaults, processor time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from damos_agent.host.pagemap import Pagemap
from tests.bench.outcomes.senpai import parse_total_us
from tests.vm.guestlib import DAMON_ADMIN, require_guest

PROC = Path("/proc")
MIB, PAGE = 1 << 20, 4096
COUNTERS = (
    *("workingset_refault_anon", "workingset_refault_file"),
    *("pswpin", "pswpout", "pgmajfault"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """MiB: resident in the loads, taken by the swap device, taken by whoever manages memory."""

    rss: float
    zram: float
    agent: float


def parse_counters(vmstat: str) -> dict[str, int]:
    """Those of COUNTERS that the kernel has."""
    pairs = (line.split() for line in vmstat.splitlines())
    return {name: int(value) for name, value in pairs if name in COUNTERS}


def parse_zram_mib(mm_stat: str) -> float:
    """All memory that a zram device takes, from its mm_stat (the third number)."""
    return int(mm_stat.split(maxsplit=3)[2]) / MIB


def parse_pss_mib(smaps_rollup: str) -> float:
    match = re.search(r"^Pss: +(\d+) kB", smaps_rollup, re.MULTILINE)
    if match is None:
        raise ValueError(f"no Pss in {smaps_rollup!r}")
    return int(match[1]) / 1024


def parse_run_s(schedstat: str) -> float:
    """The time that a task has run, from its schedstat."""
    return int(schedstat.split(maxsplit=1)[0]) / 1e9


def counters() -> dict[str, int]:
    """Of the whole guest; with memory pressure in `psi_us`."""
    found = parse_counters((PROC / "vmstat").read_text())
    return {**found, "psi_us": parse_total_us((PROC / "pressure/memory").read_text())}


def sample(loads: Sequence[int], zram: Path, agents: Iterable[int]) -> Sample:
    """Now."""
    pages = sum(int((PROC / f"{pid}/statm").read_text().split()[1]) for pid in loads)
    mm_stat = Path("/sys/block", zram.name, "mm_stat").read_text()
    held = sum(parse_pss_mib((PROC / f"{pid}/smaps_rollup").read_text()) for pid in agents)
    return Sample(pages * PAGE / MIB, parse_zram_mib(mm_stat), held)


def scheme_bytes(wait_s: float = 30.0) -> dict[str, int]:
    """What schemes of the sysfs interface that page out have tried and done, where there are any.

    DAMON is busy now and then; so long it is asked again.
    """
    require_guest()
    found: dict[str, int] = {}
    for state in DAMON_ADMIN.glob("kdamonds/[0-9]*/state"):
        deadline = time.monotonic() + wait_s
        while state.read_text().strip() == "on":
            try:
                state.write_text("update_schemes_stats")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        for scheme in state.parent.glob("contexts/0/schemes/[0-9]*"):
            if (scheme / "action").read_text().strip() == "pageout":
                for name in ("sz_tried", "sz_applied", "qt_exceeds"):
                    value = int((scheme / "stats" / name).read_text())
                    found[name] = found.get(name, 0) + value
    return found


def kdamonds() -> list[int]:
    """The kernel threads of DAMON."""
    found = []
    for place in PROC.glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile
            if (place / "comm").read_text().startswith("kdamond"):
                found.append(int(place.name))
    return found


def run_s(pids: Iterable[int]) -> dict[int, float]:
    """How long each of them, with all its threads, has had a processor."""
    found = {}
    for pid in pids:
        tasks = (PROC / f"{pid}/task").glob("*/schedstat")
        found[pid] = sum(parse_run_s(task.read_text()) for task in tasks)
    return found


def used_s(before: Mapping[int, float], now: Mapping[int, float]) -> float:
    """Processor time between two looks; who came in between had none before."""
    return sum(value - before.get(pid, 0.0) for pid, value in now.items())


def reclaimed_bytes(pid: int, ranges: Iterable[tuple[int, int]]) -> int:
    """What of the whole pages between those addresses is not in memory."""
    with Pagemap(pid) as pagemap:
        whole = [inner(start, end) for start, end in ranges]
        return sum(end - start - pagemap.count(start, end).present for start, end in whole)


def inner(start: int, end: int) -> tuple[int, int]:
    """The pages that lie in there as a whole."""
    first, last = -(-start // PAGE) * PAGE, end // PAGE * PAGE
    return first, max(first, last)


def swapped_bytes(pid: int) -> int:
    status = (PROC / f"{pid}/status").read_text()
    match = re.search(r"^VmSwap:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
