"""Figures as markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench.commands import Timing
from tests.bench.spread import Spread, spread

Runs = Sequence[Mapping[str, Any]]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def idle(groups: Mapping[str, Runs], yardstick_s: float) -> str:
    """One row per machine and number of policies. `yardstick_s`: that of this machine's core."""
    head = ("machine", "policies", "RSS", "PSS", "USS", "anon", "CPU as measured", "CPU here")
    rows = []
    for machine, runs in groups.items():
        for count in sorted({run["policies"] for run in runs}):
            mine = [run for run in runs if run["policies"] == count]
            sizes = [_of(mine, name, "MiB") for name in ("rss", "pss", "uss", "anon")]
            scaled = [r["cpu_percent"] * yardstick_s / r["yardstick_s"] for r in mine]
            cpu = _of(mine, "cpu_percent", "%").text(3)
            here = "as measured" if machine.startswith("host") else spread(scaled, "%").text(3)
            rows.append((machine, str(count), *(size.text() for size in sizes), cpu, here))
    return table(head, rows)


def _of(runs: Runs, name: str, unit: str) -> Spread:
    return spread([float(run[name]) for run in runs], unit)


def latency(groups: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """One row per leg of the way of an edit."""
    rows = [
        (machine, leg, spread(values, "ms").text(0))
        for machine, legs in groups.items()
        for leg, values in legs.items()
    ]
    return table(("machine", "leg", "time"), rows)


def writes(kernels: Mapping[str, Runs]) -> str:
    """Agent beside damo; the share is what the agent wrote of damo's number."""
    head = ("kernel", "phase", "agent", "damo", "share", "agent's queries", "damo's queries")
    rows = []
    for kernel, runs in kernels.items():
        for phase in runs[0]["agent"]:
            agent, damo = ([run[who][phase] for run in runs] for who in ("agent", "damo"))
            ours, theirs = (spread([w["changing"] for w in who], "") for who in (agent, damo))
            asked = [spread([w["queries"] for w in who], "").text(0) for who in (agent, damo)]
            share = f"{100 * ours.median / theirs.median:.1f} %"
            rows.append((kernel, phase, ours.text(0), theirs.text(0), share, *asked))
    return table(head, rows)


def commands(found: Mapping[str, Timing]) -> str:
    rows = [(name, t.wall.text(0), t.cpu.text(0)) for name, t in found.items()]
    return table(("command", "wall time", "CPU time"), rows)
