# SPDX-License-Identifier: Apache-2.0
"""What each way to reclaim saves and costs: `python -m tests.bench.outcomes`.

    python -m tests.bench.outcomes --workload hotcold --variant ours --runs 3
    python -m tests.bench.outcomes --render     # pages anew, from what was measured

Every cell is kept as soon as it is measured; those there already are not measured again, unless
with --again. As root: cells run in lab guests. Progress on standard error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import damo
from tests.bench.guest import measure
from tests.bench.outcomes import catalogue, page, pareto, programs, results
from tests.bench.outcomes.cell import Request
from tests.bench.outcomes.results import Cell
from tests.vm.errors import GuestError

PROJECT = Path(__file__).parents[3]
DIRECTORY = PROJECT / "docs/benchmarks"
Wanted = tuple[str, str, int]
"""A workload, a variant, and the number of the run."""


def tell(what: str) -> None:
    print(f"outcomes: {what}", file=sys.stderr, flush=True)


def main() -> int:
    """Exit status: 1 when a cell could not be measured."""
    options = _options()
    failed: list[str] = []
    options.directory.mkdir(parents=True, exist_ok=True)
    kept = options.directory / "outcomes.json"
    cells = results.load(kept.read_text()) if kept.exists() else []
    if not options.render:
        for cell in _measured(options, cells, failed):
            cells = results.merged(cells, [cell])
            kept.write_text(results.dump(_ordered(cells)))
            _render(options, cells)
    _render(options, cells)
    for what in failed:
        tell(f"not measured: {what}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    names = [one.name for one in (*catalogue.WORKLOADS, catalogue.SEED_WORKLOAD)]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.outcomes")
    parser.add_argument("--workload", action="append", choices=names, help="default: all")
    parser.add_argument("--variant", action="append", choices=catalogue.ORDER, help="default: all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kernel", default="7.3")
    parser.add_argument("--seconds", type=float, default=catalogue.SECONDS)
    parser.add_argument("--again", action="store_true", help="also what has been measured")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the pages")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where results go")
    return parser.parse_args()


def wanted(
    runs: int, workloads: Sequence[str] | None, variants: Sequence[str] | None
) -> Iterator[Wanted]:
    """Cells in an order in which a part that is interrupted says as much as it can."""
    for run in range(runs):
        for one in (*catalogue.WORKLOADS, catalogue.SEED_WORKLOAD):
            seed = one.name == catalogue.SEED
            for way in catalogue.SEED_VARIANTS if seed else catalogue.VARIANTS:
                if one.name in (workloads or [one.name]) and way.name in (variants or [way.name]):
                    yield one.name, way.name, run


def _measured(
    options: argparse.Namespace, cells: Sequence[Cell], failed: list[str]
) -> Iterator[Cell]:
    known = {cell.key for cell in cells}
    found = {"damo": str(damo.install()), "redis": str(programs.redis())}
    found["numpy"] = str(programs.numpy())
    every = list(wanted(options.runs, options.workload, options.variant))
    for count, (workload, variant, run) in enumerate(every, 1):
        seconds = 0.0 if workload == catalogue.SEED else options.seconds
        empty = Cell(options.kernel, seconds, workload, variant, run, {})
        if empty.key in known and not options.again:
            continue
        tell(f"{count} of {len(every)}: {workload} under {variant}, run {run + 1}")
        request = json.dumps(asdict(Request(workload, variant, seconds, **found)))
        try:
            told = measure(options.kernel, "outcomes.cell", request, tell=lambda _: None)
        except (RuntimeError, GuestError) as error:
            # One cell that cannot be measured must not cost the others.
            tell(f"{workload} under {variant} failed: {error}")
            failed.append(f"{workload} under {variant}, run {run + 1}")
            continue
        figures = {"date": datetime.now(UTC).date().isoformat(), "revision": _revision(), **told}
        yield Cell(options.kernel, seconds, workload, variant, run, figures)


def _revision() -> str:
    """What is measured: the commit, if this is a clone."""
    words = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _span(words: Iterable[str]) -> str:
    """All of them, each once."""
    return " and ".join(dict.fromkeys(words)) or "unknown"


def _ordered(cells: Sequence[Cell]) -> list[Cell]:
    """As the catalogue has them, whatever the order they were measured in."""
    workloads = [one.name for one in (*catalogue.WORKLOADS, catalogue.SEED_WORKLOAD)]

    def place(cell: Cell) -> tuple[str, float, int, int, int]:
        names = workloads.index(cell.workload), catalogue.ORDER.index(cell.variant)
        return cell.kernel, cell.seconds, *names, cell.run

    return sorted(cells, key=place)


def _render(options: argparse.Namespace, cells: Sequence[Cell]) -> None:
    """Pages of the kernel and the time asked for."""
    mine = [
        one
        for one in _ordered(cells)
        if one.kernel == options.kernel and one.seconds in (options.seconds, 0.0)
    ]
    if not mine:
        return
    runs = 1 + max(one.run for one in mine)
    made = page.Made(
        f"python -m tests.bench.outcomes --runs {runs}",
        f"{len(mine)} of {len(list(wanted(runs, None, None)))}",
        _span(one.figures["date"] for one in mine),
        _span(one.figures["revision"] for one in mine if one.variant == catalogue.OURS),
        options.kernel,
        options.seconds,
    )
    (options.directory / "outcomes.md").write_text(page.page(mine, made))
    picture = pareto.svg(
        results.outcomes(mine),
        [one.name for one in catalogue.WORKLOADS],
        [one.name for one in catalogue.VARIANTS],
    )
    (options.directory / "outcomes.svg").write_text(picture)


if __name__ == "__main__":
    sys.exit(main())
