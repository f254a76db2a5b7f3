"""How many sysfs writes a start, a change of one field and no change take: agent beside damo.

    python -m tests.bench.writes DAMO

Runs in a lab guest. Both are asked for the same: one process, the same intervals and regions, one
pageout scheme under a quota of 8 MiB per second, then of 64. Prints one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.bench.daemon import Daemon
from tests.bench.policies import policy, put
from tests.bench.strace import Record, Writes, wrapper
from tests.vm.guestlib import require_guest, reset_damon, set_damon_stat

ADMIN = Path("/sys/kernel/mm/damon/admin/kdamonds")
QUOTA = "contexts/0/schemes/0/quotas/bytes"
QUIET_S = 20.0
Phases = dict[str, Writes]


def main() -> None:
    require_guest()
    set_damon_stat(enabled=False)
    sleeper = subprocess.Popen(["sleep", "infinity"])
    try:
        with tempfile.TemporaryDirectory() as directory:
            reset_damon()
            agent = _agent(Path(directory), sleeper.pid)
            reset_damon()
            damo = _damo(Path(directory), sys.argv[1], sleeper.pid)
    finally:
        sleeper.kill()
        sleeper.wait()
        reset_damon()
    print(json.dumps({name: _plain(found) for name, found in (("agent", agent), ("damo", damo))}))


def tell(what: str) -> None:
    """Progress, for whoever watches."""
    print(f"writes: {what}", file=sys.stderr, flush=True)


def _plain(phases: Phases) -> dict[str, object]:
    return {name: asdict(writes) for name, writes in phases.items()}


def _quota(size_mib: int) -> None:
    held = (ADMIN / "0" / QUOTA).read_text().strip()
    if held != str(size_mib << 20):
        raise RuntimeError(f"the quota is {held}, not {size_mib} MiB")
    if (ADMIN / "0/state").read_text().strip() != "on":
        raise RuntimeError("no kdamond is running")


def _agent(base: Path, pid: int) -> Phases:
    intervals = "resync_interval: 5s, outcome_interval: 5s"
    daemon = Daemon(base / "agent", f"{{{intervals}}}")
    record = Record(base / "agent.strace")
    put(daemon.policies, "bench", policy("bench", f"{{pid: {pid}}}"))
    try:
        daemon.start(*wrapper(base / "agent.strace"))
        daemon.wait_event("slot_started", 1)
        tell("the agent has started its kdamond")
        _settled(daemon)
        phases = {"start": record.phase()}
        _quota(8)
        before = len(daemon.events("slot_committed"))
        put(daemon.policies, "bench", policy("bench", f"{{pid: {pid}}}", "64MiB"))
        daemon.wait_event("slot_committed", before + 1)
        _settled(daemon)
        phases["one field"] = record.phase()
        tell("the agent has changed the quota")
        _quota(64)
        rounds = len(daemon.events("scheme_outcome"))
        time.sleep(QUIET_S)
        for _ in range(3):
            daemon.reload()
        phases["no change"] = record.phase()
        if len(daemon.events("scheme_outcome")) == rounds:
            raise RuntimeError("nothing happened while nothing changed")
        return phases
    finally:
        daemon.stop()


def _settled(daemon: Daemon) -> None:
    """Kernels before 6.18 get a new quota in two steps, more than its interval apart."""
    while True:
        before = len(daemon.events("slot_committed"))
        time.sleep(8)
        if len(daemon.events("slot_committed")) == before:
            return


def _damo(base: Path, damo: str, pid: int) -> Phases:
    def call(verb: str, size: str) -> Writes:
        path = base / f"damo.{verb}.{size}.{time.monotonic_ns()}"
        words = [
            *(verb, "--ops", "vaddr", "--target_pid", str(pid)),
            *("--monitoring_intervals", "5ms", "100ms", "1s"),
            *("--monitoring_nr_regions_range", "10", "1000"),
            *("--damos_action", "pageout", "--damos_sz_region", "4K", "max"),
            *("--damos_access_rate", "0%", "0%", "--damos_age", "60s", "max"),
            *("--damos_quotas", "0ms", size, "1s", "0%", "0%", "0%"),
        ]
        done = subprocess.run([*wrapper(path), damo, *words], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"damo {verb} failed: {done.stdout}{done.stderr}")
        tell(f"damo {verb} is done")
        return Record(path).phase()

    phases = {"start": call("start", "8M")}
    _quota(8)
    phases["one field"] = call("tune", "64M")
    _quota(64)
    phases["no change"] = call("tune", "64M")
    return phases


if __name__ == "__main__":
    main()
