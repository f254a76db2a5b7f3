"""Time from a renamed file to the commit in the kernel, and where it goes.

    python -m tests.bench.latency EDITS

In a lab guest an edit ends with `slot_committed`; elsewhere, on a machine without DAMON, with the
policy compiled. Prints one line of JSON, lists of milliseconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.bench.daemon import Daemon, wait_for
from tests.bench.policies import policy, put
from tests.vm.guestlib import kernel_series, reset_damon, set_damon_stat

Legs = dict[str, list[float]]


def main() -> None:
    guest = kernel_series() is not None
    if guest:
        set_damon_stat(enabled=False)
        reset_damon()
    sleeper = subprocess.Popen(["sleep", "infinity"])
    try:
        with tempfile.TemporaryDirectory() as directory:
            print(json.dumps(_measure(Path(directory), int(sys.argv[1]), sleeper.pid, guest=guest)))
    finally:
        sleeper.kill()
        sleeper.wait()


def _measure(base: Path, edits: int, pid: int, *, guest: bool) -> Legs:
    daemon = Daemon(base, sysfs=Path("/sys") if guest else base / "sys")
    put(daemon.policies, "bench", policy("bench", f"{{pid: {pid}}}"))
    last = "slot_committed" if guest else "reload_finished"
    legs: Legs = {"settle": [], "compile": [], "reconcile": [], "total": []}
    daemon.start()
    try:
        if guest:
            daemon.wait_event("slot_started", 1)
        for number in range(edits):
            time.sleep(3)
            _edit(daemon, f"{{pid: {pid}}}", 16 + number, last, legs)
    finally:
        daemon.stop()
    return {name: values for name, values in legs.items() if values}


def _edit(daemon: Daemon, target: str, size_mib: int, last: str, legs: Legs) -> None:
    renamed = time.time()
    put(daemon.policies, "bench", policy("bench", target, f"{size_mib}MiB"))
    ends = (_after(daemon, name, renamed) for name in ("reload_started", "reload_finished", last))
    started, finished, committed = (wait_for("the edit's events", end) for end in ends)
    legs["settle"].append(1e3 * (started - renamed))
    legs["compile"].append(1e3 * (finished - started))
    if committed != finished:
        legs["reconcile"].append(1e3 * (committed - finished))
    legs["total"].append(1e3 * (committed - renamed))


def _after(daemon: Daemon, name: str, moment: float) -> Callable[[], float | None]:
    def first() -> float | None:
        return next((at for e in daemon.events(name) if (at := _time(e)) >= moment), None)

    return first


def _time(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


if __name__ == "__main__":
    main()
