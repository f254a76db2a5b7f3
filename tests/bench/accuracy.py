# SPDX-License-Identifier: Apache-2.0
"""How truly monitors tell accesses, beside loads whose accesses are known.

    python -m tests.bench.accuracy KIND SECONDS MONITOR...

In a lab guest, one monitor after the other on the very same loads, kernel DAMON among them. Prints
one line of JSON: figures of each monitor and load (see `judge.Moment`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.bench.accuracy_cases import GUEST_OPTIONS, Case, cases, guest_cases, started
from tests.bench.judge import Moment, Seen, judge, seen, summary
from tests.bench.kernel_view import AS_OURS, DEFAULTS, Attributes, kdamonds, look
from tests.bench.monitor import proven, watching
from tests.load.load import Load
from tests.vm.guestlib import kernel_series

PROBES = ("pte", "vma", "page_idle")
KERNEL = {"kernel DAMON": AS_OURS, "kernel DAMON, defaults": DEFAULTS}
HOST_BP, GUEST_BP = 100, 5_000
"""What a monitor may take of a core: the default; more where emulation makes Python dear."""
_POLL_S = 0.5
"""Answers are paid for out of the budgets: this often, by a quarter of the default."""
_SETTLED = 0.6
"""This share of the time is for getting settled."""
_START_S = 2.0
"""For the loads to get under way."""
_AT_ONCE = 10
"""Loads watched at the same time on the host: there a look takes a hundredth of its interval."""
_OPENING_S = 30.0
"""So long may it take until a load is watched."""

Loads = Mapping[str, Sequence[Load]]
Look = Callable[[], Iterable[tuple[str, Callable[[], Seen]]]]
"""Those loads that are watched by now, and what was seen of each, for which it may wait."""
Figures = dict[str, Any]


def host(kind: str, seconds: float, probes: Sequence[str]) -> list[Figures]:
    """Each probe on the same loads, some of them at the same time."""
    return _one_by_one(cases(), _AT_ONCE, kind, seconds, probes)


def guest(kind: str, seconds: float, monitors: Sequence[str]) -> list[Figures]:
    """Each on the same load, and one load after the other.

    Where a look takes tenths of its interval, several loads at once would wait for each other.
    """
    return _one_by_one(guest_cases(), 1, kind, seconds, monitors, *GUEST_OPTIONS)


def _one_by_one(
    every: Sequence[Case],
    at_once: int,
    kind: str,
    seconds: float,
    monitors: Sequence[str],
    *options: str,
) -> list[Figures]:
    found: list[Figures] = []
    for first in range(0, len(every), at_once):
        with started(every[first : first + at_once], kind, *options) as loads:
            time.sleep(_START_S)
            for name in monitors:
                found += _watched(name, loads, seconds)
    # What cannot be had says so once, not for each load.
    once = {json.dumps(one): one for one in found}
    return [{"kind": kind, **one} for one in once.values()]


def _watched(name: str, loads: Loads, seconds: float) -> list[Figures]:
    """Figures of each load. What fails, on a machine too busy for instance, is a row as well."""
    try:
        return _measured(name, loads, seconds)
    except (OSError, RuntimeError) as error:
        why = f"failed: {error}"
        return [{"monitor": name, "case": case, "missing": why} for case in loads]


def _measured(name: str, loads: Loads, seconds: float) -> list[Figures]:
    print(f"accuracy: {name}: {', '.join(loads)}", file=sys.stderr, flush=True)
    with _in_kernel(KERNEL[name], loads) if name in KERNEL else _of_ours(name, loads) as view:
        if isinstance(view, str):
            return [{"monitor": name, "missing": view}]
        moments = observe(view, loads, seconds)
    return [
        {"monitor": name, "case": case, **_told(told, seconds * _SETTLED)}
        for case, told in moments.items()
    ]


def _told(moments: Sequence[Moment], settled_s: float) -> Figures:
    try:
        return dict(summary(moments, settled_s))
    except ValueError as nothing:
        return {"missing": str(nothing)}


def observe(view: Look, loads: Loads, seconds: float) -> dict[str, list[Moment]]:
    """All that is told anew of each load within so many seconds from when it is first watched."""
    started_s = time.monotonic()
    last: dict[str, Seen] = {}
    began: dict[str, float] = {}
    moments: dict[str, list[Moment]] = {name: [] for name in loads}
    while time.monotonic() < _until(began.values(), len(loads), started_s, seconds):
        watched = dict(view())
        began = {**dict.fromkeys(watched, time.monotonic()), **began}
        for name, tell in watched.items():
            found, at_s = tell(), time.monotonic() - began[name]
            if found.rows and last.get(name) != found and at_s <= seconds:
                last[name] = found
                moments[name].append(judge(at_s, found, loads[name]))
        time.sleep(_POLL_S)
    return moments


def _until(began: Collection[float], wanted: int, started_s: float, seconds: float) -> float:
    """When all have had their time; loads that are not watched by now are waited for a while."""
    late_s = started_s + _OPENING_S if len(began) < wanted else 0.0
    return max(late_s, *(at_s + seconds for at_s in began), 0.0)


@contextmanager
def _of_ours(probe: str, loads: Loads) -> Iterator[Look | str]:
    """What our monitor tells of those it watches wholly; why there is none."""
    budget_bp = GUEST_BP if kernel_series() else HOST_BP
    works = [watching(f"p{n}", probe, every, budget_bp) for n, every in enumerate(loads.values())]
    names = {work.policy.name: case for work, case in zip(works, loads, strict=True)}
    with proven(works) as (monitor, _):
        refused = [report.refused for report in monitor.report() if report.refused]
        if refused:
            yield refused[0]
            return
        yield lambda: (
            (names[report.policy], partial(seen, report.snapshot))
            for report in monitor.report(snapshots=True)
            if report.snapshot and report.targets == len(loads[names[report.policy]])
        )


@contextmanager
def _in_kernel(attributes: Attributes, loads: Loads) -> Iterator[Look | str]:
    pids = {name: every[0].pid for name, every in loads.items()}
    with kdamonds(list(pids.values()), attributes):
        looks = [partial(look, number, pid, attributes) for number, pid in enumerate(pids.values())]
        yield lambda: zip(pids, looks, strict=True)


def main() -> None:
    kind, seconds, *monitors = sys.argv[1:]
    print(json.dumps({"figures": guest(kind, float(seconds), monitors)}))


if __name__ == "__main__":
    main()
