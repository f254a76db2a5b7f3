# SPDX-License-Identifier: Apache-2.0
"""Figures of monitoring from user space as markdown tables: medians, lowest to highest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench.spread import Spread, spread
from tests.bench.tables import table

Figures = Mapping[str, Any]
_SAVED_AT_S = (10, 20, 30, 40)


def ranged(values: Iterable[float], digits: int = 2, scale: float = 1.0, unit: str = "") -> str:
    """`0.98 (0.97 to 1.00)`, or the one value there is; `-` of none."""
    kept = [scale * value for value in values]
    if not kept:
        return "-"
    told: Spread = spread(kept, unit)
    return told.text(digits).replace(f", n={len(kept)}", "").replace(f" (n={len(kept)})", "")


def grouped(figures: Sequence[Figures], *names: str) -> dict[tuple[Any, ...], list[Figures]]:
    """Those alike in these names, in the order of the first of each."""
    found: dict[tuple[Any, ...], list[Figures]] = {}
    for one in figures:
        found.setdefault(tuple(one.get(name, "") for name in names), []).append(one)
    return found


def accuracy(figures: Sequence[Figures]) -> str:
    """One row per monitor, kind of memory and load; n is the number of runs."""
    head = (
        *("monitor", "memory", "load", "n", "precision", "recall", "F1", "working set", "rate"),
        *("age", "cold found", "hot called cold", "worst mapping", "found after", "sample"),
    )
    rows = []
    for (monitor, kind, case), runs in grouped(figures, "monitor", "kind", "case").items():
        whole = [run for run in runs if "missing" not in run]
        if not whole:
            why = f"{case}: {runs[0]['missing']}" if case else runs[0]["missing"]
            rows.append((monitor, kind, why, "0", *["-"] * (len(head) - 4)))
            continue
        count = str(len(runs)) if len(whole) == len(runs) else f"{len(whole)} of {len(runs)}"
        rows.append((monitor, kind, case, count, *_accuracy_cells(whole)))
    return table(head, rows)


def _accuracy_cells(runs: Sequence[Figures]) -> tuple[str, ...]:
    def of(name: str, digits: int = 3, scale: float = 1.0, unit: str = "") -> str:
        return ranged((run[name] for run in runs), digits, scale, unit)

    found = [run["found_s"] for run in runs if run["found_s"] is not None]
    late = f", never in {len(runs) - len(found)}" if 0 < len(found) < len(runs) else ""
    return (
        *(of(name) for name in ("precision", "recall", "f1")),
        of("working_set_error", 1, 100, "%"),
        of("rate_error", 3),
        of("age_error_s", 1, 1, "s"),
        of("cold_found", 2),
        of("hot_as_cold", 1, 100, "%"),
        of("mapping_error", 1, 100, "%"),
        (ranged(found, 0, 1, "s") if found else "never") + late,
        of("sample_s", 2, 1, "s"),
    )


def cost(figures: Sequence[Figures]) -> str:
    """One row per memory, number of processes and probe; windows of all runs together."""
    head = (
        *("memory", "processes", "probe", "n", "CPU of a core", "regions", "sampled every"),
        *("aggregated every", "target's speed", "worst mmap without", "worst mmap with"),
    )
    rows = []
    for (kind, gib, count, probe), runs in grouped(
        figures, "kind", "gib", "processes", "probe"
    ).items():
        name = (f"{gib:.3g} GiB {kind}", str(count), probe or "-")
        whole = [run for run in runs if "missing" not in run]
        if not whole:
            why = runs[0]["missing"].split(" (")[0]
            rows.append((*name, "0", why, *["-"] * (len(head) - 5)))
            continue
        rows.append((*name, *_cost_cells(whole)))
    return table(head, rows)


def _cost_cells(runs: Sequence[Figures]) -> tuple[str, ...]:
    plain = [run for run in runs if not run["latency"]]
    timed = [run for run in runs if run["latency"]]

    def all_of(name: str, which: Sequence[Figures]) -> list[float]:
        return [value for run in which for value in run[name]]

    return (
        str(len(all_of("speed", plain))),
        ranged(all_of("cpu_percent", plain), 2, 1, "%"),
        ranged((run["regions"] for run in plain), 0),
        ranged((run["sample_us"] for run in plain if run["probe"] != "vma"), 2, 1e-6, "s"),
        ranged((run["aggr_us"] for run in plain), 1, 1e-6, "s"),
        ranged(all_of("speed", plain), 2),
        ranged(all_of("mmap_off_ms", timed), 1, 1, "ms"),
        ranged(all_of("mmap_on_ms", timed), 1, 1, "ms"),
    )


def storms(figures: Sequence[Figures]) -> str:
    """One row per probe; CPU of a core before, during and after the storm."""
    phases = ("calm", "storm", "after")
    columns = [f"{who}, {when}" for who in ("agent", "monitor") for when in phases]
    head = ("probe", "processes", "n", "storm lasted", *columns)
    rows = []
    for (probe, count), runs in grouped(figures, "probe", "processes").items():
        cells = [
            ranged((run[when][f"{who}_percent"] for run in runs), 2, 1, "%")
            for who in ("agent", "monitor")
            for when in phases
        ]
        lasted = ranged((run["storm"]["seconds"] for run in runs), 0, 1, "s")
        rows.append((probe, str(count), str(len(runs)), lasted, *cells))
    return table(head, rows)


def harm(figures: Sequence[Figures]) -> str:
    """One row per way: what hot memory that is claimed cold costs the process."""
    head = ("gate", "claimed cold", "n", "sent out", "of it a second", "major faults", "speed")
    rows = []
    for (how, claimed), runs in grouped(figures, "how", "claimed_mib").items():
        rate = [run["out_mib"] / run["seconds"] for run in runs]
        rows.append(
            (
                how,
                f"{claimed:.0f} MiB",
                str(len(runs)),
                ranged((run["out_mib"] for run in runs), 1, 1, "MiB"),
                ranged(rate, 2, 1, "MiB"),
                ranged((run["major_faults"] for run in runs), 0),
                ranged((run["speed"] for run in runs), 2),
            )
        )
    return table(head, rows)


def savings(kernels: Mapping[str, Sequence[Figures]]) -> str:
    """One row per kernel and variant; a run is a mapping of variants."""
    times = [f"after {at} s" for at in _SAVED_AT_S]
    head = ("kernel", "backend/probe", "n", *times, "hot swapped", "load's speed")
    rows = []
    for kernel, runs in kernels.items():
        for variant in runs[0]:
            mine = [run[variant] for run in runs]
            saved = [
                ranged((saved_at(one["saved_mib"], at) for one in mine), 0, 1, "MiB")
                for at in _SAVED_AT_S
            ]
            hot = ranged((one["hot_swapped_mib"] for one in mine), 1, 1, "MiB")
            speed = ranged((one["speed"] for one in mine), 2)
            rows.append((kernel, variant, str(len(mine)), *saved, hot, speed))
    return table(head, rows)


def saved_at(line: Sequence[Sequence[float]], at_s: float) -> float:
    """What was saved at that time or last before; 0 before the first."""
    return next((mib for past, mib in reversed(line) if past <= at_s), 0.0)
