"""An idle agent's memory and CPU with N policies, settled after three reloads.

    python -m tests.bench.idle POLICIES SECONDS [--metrics]

On a lab guest every policy drives a kdamond on a process of its own; elsewhere the agent sees an
empty sysfs, which is a machine without DAMON. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.daemon import Daemon, wait_for
from tests.bench.footprint import cpu_percent, read_memory, yardstick_s
from tests.bench.policies import SLOW, policy, put
from tests.vm.guestlib import kernel_series, reset_damon, set_damon_stat

_SCRAPE = "from urllib.request import urlopen; urlopen('http://{}/metrics').read()"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("policies", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--metrics", action="store_true", help="serve metrics, scraped thrice")
    arguments = parser.parse_args()
    guest = kernel_series() is not None
    if guest:
        set_damon_stat(enabled=False)
        reset_damon()
    with tempfile.TemporaryDirectory() as directory:
        measured = _measure(Path(directory), arguments, guest=guest)
    print(json.dumps(measured))


def tell(what: str) -> None:
    """Progress, for whoever watches."""
    print(f"idle: {what}", file=sys.stderr, flush=True)


def _measure(base: Path, arguments: argparse.Namespace, *, guest: bool) -> dict[str, object]:
    count = arguments.policies
    address = "127.0.0.1:9945"
    metrics = f", metrics: {{listen: '{address}'}}" if arguments.metrics else ""
    settings = f"{{slots: {max(count, 16)}{metrics}}}"
    daemon = Daemon(base, settings, Path("/sys") if guest else base / "sys")
    sleepers = [subprocess.Popen(["sleep", "infinity"]) for _ in range(count)]
    try:
        for number, sleeper in enumerate(sleepers):
            name = f"p{number:03}"
            put(daemon.policies, name, policy(name, f"{{pid: {sleeper.pid}}}", intervals=SLOW))
        daemon.start()
        if guest:
            wait_for("every kdamond", lambda: len(daemon.events("slot_started")) == count)
        tell("settled")
        for _ in range(3):
            daemon.reload()
            if arguments.metrics:
                subprocess.run(["python3", "-c", _SCRAPE.format(address)], check=True)
        tell("reloaded thrice")
        percent = cpu_percent(daemon.pid, arguments.seconds)
        memory = asdict(read_memory(daemon.pid))
        wrote = len(daemon.events("slot_committed"))
        return {
            "policies": count, "cpu_percent": percent, **memory,
            "yardstick_s": yardstick_s(), "commits": wrote,
        }  # fmt: skip
    finally:
        daemon.stop()
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


if __name__ == "__main__":
    main()
