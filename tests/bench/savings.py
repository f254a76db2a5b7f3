# SPDX-License-Identifier: Apache-2.0
"""What one policy saves under one quota, by whichever backend, and what the process pays for it.

    python -m tests.bench.savings SECONDS BACKEND/PROBE...

Runs in a lab guest: the same policy and a fresh load for each. Prints one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.cost_windows import between
from tests.guest.measure import range_use
from tests.guest.rig import PROJECT, Rig, wait_for
from tests.load.layout import HotCold
from tests.load.load import Load
from tests.load.progress import speed
from tests.load.run import start
from tests.vm.guestlib import require_guest, reset_damon, set_damon_stat, zram_swap

MIB = 1 << 20
HOT_MIB, COLD_MIB = 16, 96
LAYOUT = HotCold((HOT_MIB + COLD_MIB) * MIB, COLD_MIB // 2 * MIB, HOT_MIB * MIB)
BEFORE_S = 10.0
POLICY = """\
apiVersion: damos-agent/v1
kind: Policy
metadata: {{name: reclaim}}
spec:
  mode: enforce
  backend: {backend}
  target: {{pid: {pid}}}
  monitoring:
    sampling_interval: 5ms
    aggregation_interval: 100ms
    update_interval: 1s
    userspace: {{probe: {probe}, cpu: 50%}}
  schemes:
    - action: pageout
      pattern:
        access_rate: {{min: 0%, max: 0%}}
        age: {{min: 4s}}
      quota: {{size: 4MiB, interval: 1s}}
"""


def main() -> None:
    require_guest()
    seconds, *variants = sys.argv[1:]
    # In virtual time a guest that waits for its host's disk sees time fly: read it all before.
    modules = "damos_agent.agent.main, damos_agent.config.compile, damos_agent.userspace.worker"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True, cwd=PROJECT)
    set_damon_stat(enabled=False)
    with zram_swap(512):
        print(json.dumps({name: _variant(name, float(seconds)) for name in variants}))


def _variant(variant: str, seconds: float) -> dict[str, Any]:
    print(f"savings: {variant}", file=sys.stderr, flush=True)
    backend, _, probe = variant.partition("/")
    reset_damon()
    # Hot and cold lie in mappings of their own, for which the vma probe is made.
    with (
        tempfile.TemporaryDirectory() as name,
        start(LAYOUT, "anon", "--flush", "--gap", "2M") as load,
    ):
        rig = Rig(Path(name))
        try:
            rig.setup()
            rig.start()
            policy = POLICY.format(backend=backend, probe=probe, pid=load.pid)
            return _measured(rig, load, policy, seconds)
        finally:
            rig.close()
            reset_damon()


def _measured(rig: Rig, load: Load, policy: str, seconds: float) -> dict[str, Any]:
    wait_for("the load to be under way", lambda: len(load.lines()) > 2)
    time.sleep(BEFORE_S)
    dropped = time.monotonic()
    rig.put("reclaim", policy)
    (busy,) = load.hot(2.0)
    saved, hot = [], 0.0
    while (past := time.monotonic() - dropped) < seconds:
        use = sum(range_use(load.pid, part).swap for part in load.parts())
        hot = max(hot, range_use(load.pid, busy).swap)
        saved.append((past, use))
        time.sleep(1)
    lines = load.lines()
    usual = speed(between(lines, dropped - BEFORE_S, dropped)).accesses_per_cpu_s
    during = speed(between(lines, dropped, dropped + seconds)).accesses_per_cpu_s
    now = rig.policy("reclaim")
    return {
        "saved_mib": saved,
        "hot_swapped_mib": hot,
        "speed": during / usual,
        "backend": now.backend if now else "",
        "probe": now.probe if now else "",
        "swap_in_mib": _swapped_in_mib(),
    }


def _swapped_in_mib() -> float:
    """Of the whole guest, since it booted."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("pswpin "):
            return int(line.split()[1]) / 256
    return 0.0


if __name__ == "__main__":
    main()
