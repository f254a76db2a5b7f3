"""All benchmarks: `python -m tests.bench [--only NAME] [--runs N] [--json FILE]`.

Prints markdown tables; progress goes to the terminal. Root is needed for lab guests.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import commands, damo, guest, tables, userspace
from tests.bench.footprint import yardstick_s

BENCHMARKS = (
    *("commands", "idle", "latency", "writes"),
    *userspace.MEASURES,
)
POLICIES = ("1", "10", "100")
QUIET_S = "125"
"""Longer than two of the idle agent's rounds, which are a minute apart."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is asked for."""

    runs: int
    kernels: tuple[str, ...]
    quick: bool = False

    def commands(self) -> tuple[str, object]:
        found = commands.measure(max(self.runs, 5), tell)
        return tables.commands(found), {
            name: {"wall": timing.wall.data(), "cpu": timing.cpu.data()}
            for name, timing in found.items()
        }

    def idle(self) -> tuple[str, object]:
        here, yardstick = [], min(yardstick_s() for _ in range(5))
        for number in range(self.runs):
            tell(f"host: idle, run {number + 1}, {QUIET_S} s")
            here += _host("idle", [(count, QUIET_S) for count in POLICIES])
        # Whatever else the machine did, the least it took is what it takes.
        yardstick = min(yardstick, *(run["yardstick_s"] for run in here))
        found = {"host, no DAMON": here}
        for kernel in self.kernels[:1]:
            calls = [(c, number) for number in range(self.runs) for c in POLICIES]
            label = f"guest {kernel} (emulated)"
            found[label] = [
                dict(guest.measure(kernel, "idle", c, QUIET_S, tell=tell)) for c, _ in calls
            ]
        return tables.idle(found, yardstick), {"yardstick_s": yardstick, **found}

    def latency(self) -> tuple[str, object]:
        edits = str(max(self.runs, 5))
        found: dict[str, Any] = {"host, no DAMON": _host("latency", [(edits,)])[0]}
        for kernel in self.kernels:
            measured = guest.measure(kernel, "latency", edits, tell=tell)
            found[f"guest {kernel} (emulated)"] = dict(measured)
        return tables.latency(found), found

    def writes(self) -> tuple[str, object]:
        program = str(damo.install())
        found: dict[str, Any] = {}
        for kernel in self.kernels:
            measured = (
                guest.measure(kernel, "writes", program, tell=tell) for _ in range(self.runs)
            )
            found[kernel] = [dict(one) for one in measured]
        return tables.writes(found), found

    def userspace(self, name: str) -> tuple[str, object]:
        return userspace.MEASURES[name](self.runs, self.kernels, quick=self.quick, tell=tell)


def _host(module: str, calls: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    """Run them side by side: their CPU is counted per process."""
    children = [
        subprocess.Popen(
            [sys.executable, "-m", f"tests.bench.{module}", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        for arguments in calls
    ]
    outputs = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise RuntimeError(f"{module} failed")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def tell(what: str) -> None:
    """Progress, if somebody watches."""
    if sys.stderr.isatty():
        print(f"bench: {what}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--only", action="append", choices=BENCHMARKS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kernel", action="append", help="default: 7.3 and 6.12")
    parser.add_argument("--host", action="store_true", help="only what needs no guest")
    parser.add_argument("--quick", action="store_true", help="less of what takes long, rougher")
    parser.add_argument("--json", type=Path, help="put every single value there")
    arguments = parser.parse_args()
    kernels = () if arguments.host else tuple(arguments.kernel or ("7.3", "6.12"))
    bench = Bench(arguments.runs, kernels, arguments.quick)
    measures: dict[str, Callable[[], tuple[str, object]]] = {
        "commands": bench.commands,
        "idle": bench.idle,
        "latency": bench.latency,
        "writes": bench.writes,
        **{name: partial(bench.userspace, name) for name in userspace.MEASURES},
    }
    kept: dict[str, object] = {"cores": os.cpu_count(), "load": os.getloadavg()}
    for name in arguments.only or BENCHMARKS:
        text, kept[name] = measures[name]()
        print(f"## {name}\n\n{text}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
