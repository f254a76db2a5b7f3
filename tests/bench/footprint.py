"""What a process takes: memory by smaps_rollup, CPU by its own accounting."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """In MiB. `uss` is what would be free without the process; `anon` its own anonymous part."""

    rss: float
    pss: float
    uss: float
    anon: float


def read_memory(pid: int) -> Memory:
    """Now."""
    kib: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        kib[name] = int(rest.split()[0])
    uss = kib["Private_Clean"] + kib["Private_Dirty"]
    return Memory(kib["Rss"] / 1024, kib["Pss"] / 1024, uss / 1024, kib["Anonymous"] / 1024)


def read_cpu_s(pid: int) -> float:
    """Seconds of CPU of all its threads so far, exact to the scheduler's nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def cpu_percent(pid: int, seconds: float) -> float:
    """Share of one core over the next `seconds`."""
    before, begun = read_cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (read_cpu_s(pid) - before) / (time.monotonic() - begun)


def yardstick_s() -> float:
    """CPU time of a fixed piece of the work an idle agent does: reading and splitting small files.

    The ratio of two machines' figures says how to compare their CPU shares.
    """
    begun = time.process_time()
    path = f"/proc/{os.getpid()}/stat"
    kept: dict[str, str] = {}
    for number in range(4000):
        with open(path, encoding="ascii") as file:
            words = file.read().split()
        kept |= {f"{number % 64}/{index}": word for index, word in enumerate(words[:8])}
    return time.process_time() - begun
