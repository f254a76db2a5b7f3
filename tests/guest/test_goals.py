"""Goals of the agent's own on a real kernel: it takes what the goal asks for, and no more."""

from __future__ import annotations

import time

import pytest

from tests.guest.rig import Rig, sysfs, wait_for

MACHINE = {"virtual_time": True, "apart": "guard"}
pytestmark = [pytest.mark.guest(**MACHINE), pytest.mark.usefixtures("warm")]

POLICY = """\
apiVersion: damos-agent/v1
kind: Policy
metadata:
  name: shrink
spec:
  mode: enforce
  backend: {backend}
  target:
    pid: {pid}
  schemes:
    - action: pageout
      pattern:
        access_rate: {{max: 0%}}
        age: {{min: 2s}}
      quota:
        size: 16MiB
        interval: 1s
        goals: [{{rss: {rss}MiB}}]
"""


@pytest.mark.parametrize("backend", ["kernel"])
def test_a_process_is_brought_to_the_size_asked_for(rig: Rig, backend: str) -> None:
    """Of 96 MiB that nobody needs about half goes, although the quota would allow all of it."""
    work = rig.workload(hot_mib=8, cold_mib=96)
    full = work.rss_mib()
    target = round(full - 48)
    rig.start()
    rig.put("shrink", POLICY.format(backend=backend, pid=work.pid, rss=target))
    rig.wait_state("shrink", "active")
    assert int(sysfs("0/contexts/0/schemes/0/quotas/bytes")) == 256 << 10  # the seed
    wait_for("the goal", lambda: work.rss_mib() < target * 1.12)
    time.sleep(30)
    status = rig.policy("shrink")
    assert status is not None
    print(f"{full:.0f} MiB, asked for {target}: {work.rss_mib():.0f} MiB", status.schemes[0].goals)
    assert target * 0.85 < work.rss_mib() < target * 1.12
    (goal,) = status.schemes[0].goals
    assert goal.tuner == "agent"
    assert goal.step in ("met", "unused", "over_goal")
    assert "tuned by the agent: the kernel does not measure it" in rig.ctl("status").stdout
    assert rig.ctl("verify").returncode == 0
