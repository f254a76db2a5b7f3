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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.bench.accuracy_cases import GUEST_OPTIONS, cases, guest_cases, started
from tests.bench.judge import Moment, Seen, judge, seen, summary
from tests.bench.kernel_view import AS_OURS, DEFAULTS, Attributes, kdamonds, look
from tests.bench.monitor import proven, watching
from tests.load.load import Load
from tests.vm.guestlib import kernel_series

PROBES = ("pte", "vma", "page_idle")
KERNEL = {"kernel DAMON": AS_OURS, "kernel DAMON, defaults": DEFAULTS}
HOST_BP, GUEST_BP = 100, 5_000
"""What a monitor may take of a core: the default; more where emulation makes Python dear."""
_POLL_S = 0.25
_SETTLED = 0.6
"""This share of the time is for getting settled."""

Loads = Mapping[str, Sequence[Load]]
Look = Callable[[], Iterator[tuple[str, Seen]]]
Figures = dict[str, Any]


def host(kind: str, seconds: float, probes: Sequence[str]) -> list[Figures]:
    """Each probe on loads of its own, all at the same time."""
    with started(cases(), kind) as loads:
        found: list[Figures] = []
        for probe in probes:
            found += _watched(probe, loads, seconds)
    return [{"kind": kind, **one} for one in found]


def guest(kind: str, seconds: float, monitors: Sequence[str]) -> list[Figures]:
    """One after the other on the same loads."""
    with started(guest_cases(), kind, *GUEST_OPTIONS) as loads:
        time.sleep(2)
        found = [one for name in monitors for one in _watched(name, loads, seconds)]
    return [{"kind": kind, **one} for one in found]


def _watched(name: str, loads: Loads, seconds: float) -> list[Figures]:
    print(f"accuracy: {name}", file=sys.stderr, flush=True)
    with _in_kernel(KERNEL[name], loads) if name in KERNEL else _of_ours(name, loads) as view:
        if isinstance(view, str):
            return [{"monitor": name, "missing": view}]
        moments = observe(view, loads, seconds)
    return [
        {"monitor": name, "case": case, **summary(told, seconds * _SETTLED)}
        for case, told in moments.items()
    ]


def observe(view: Look, loads: Loads, seconds: float) -> dict[str, list[Moment]]:
    """All that is told anew within so many seconds, judged at once."""
    began = time.monotonic()
    last: dict[str, Seen] = {}
    moments: dict[str, list[Moment]] = {name: [] for name in loads}
    while time.monotonic() - began < seconds:
        for name, found in view():
            if found.rows and last.get(name) != found:
                last[name] = found
                moments[name].append(judge(time.monotonic() - began, found, loads[name]))
        time.sleep(_POLL_S)
    return moments


@contextmanager
def _of_ours(probe: str, loads: Loads) -> Iterator[Look | str]:
    """What our monitor tells; why there is none."""
    budget_bp = GUEST_BP if kernel_series() else HOST_BP
    works = [watching(f"p{n}", probe, every, budget_bp) for n, every in enumerate(loads.values())]
    names = {work.policy.name: case for work, case in zip(works, loads, strict=True)}
    with proven(works) as (monitor, _):
        refused = [report.refused for report in monitor.report() if report.refused]
        if refused:
            yield refused[0]
            return
        yield lambda: (
            (names[report.policy], seen(report.snapshot))
            for report in monitor.report(snapshots=True)
            if report.snapshot
        )


@contextmanager
def _in_kernel(attributes: Attributes, loads: Loads) -> Iterator[Look | str]:
    pids = {name: every[0].pid for name, every in loads.items()}
    with kdamonds(list(pids.values()), attributes):
        yield lambda: (
            (name, look(number, pid, attributes)) for number, (name, pid) in enumerate(pids.items())
        )


def main() -> None:
    kind, seconds, *monitors = sys.argv[1:]
    print(json.dumps({"figures": guest(kind, float(seconds), monitors)}))


if __name__ == "__main__":
    main()
