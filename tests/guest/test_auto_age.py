"""`age: auto` and predictions on a real kernel."""

from __future__ import annotations

import json
import time

import pytest

from damos_agent.model.status import Forecast
from tests.guest.rig import Rig, sysfs, wait_for

MACHINE = {"virtual_time": True, "apart": "auto"}
pytestmark = [pytest.mark.guest(**MACHINE), pytest.mark.usefixtures("warm")]

POLICY = """\
apiVersion: damos-agent/v1
kind: Policy
metadata:
  name: reclaim
spec:
  mode: {mode}
  backend: kernel
  target:
    pid: {pid}
  monitoring:
    sampling_interval: 200ms
    aggregation_interval: 2s
    update_interval: 10s
    min_regions: 500
  schemes:
    - action: pageout
      pattern:
        access_rate: {{max: 0%}}
        age: {age}
      quota:
        size: 16MiB
        interval: 1s
"""

QUIET = "spec: {outcome_interval: 1m, follow_interval: 1m, resync_interval: 5m}"
"""Time without work costs nothing in virtual time, so there is as little of it as may be."""


def test_an_age_is_found_out_and_cold_memory_goes(rig: Rig) -> None:
    """First it only looks; then what nobody needs goes, and what is in use stays."""
    rig.setup(QUIET)
    work = rig.workload(8, 96, "--pause", "0.5")
    full = work.rss_mib()
    rig.start()
    rig.put("reclaim", POLICY.format(pid=work.pid, mode="enforce", age="auto"))
    rig.wait_state("reclaim", "active")
    assert sysfs("0/contexts/0/schemes/0/action") == "stat"
    time.sleep(60)
    told = _forecast(rig)
    assert isinstance(told, Forecast)
    assert (told.age_us, told.reason) == (None, "learning")
    assert work.swap_mib() == 0
    for _ in range(60):
        time.sleep(20)
        told = _forecast(rig)
        assert told is not None
        if told.age_us is not None:
            break
    assert told.age_us is not None, told
    print(f"age {told.age_us / 1e6:.0f} s", [row for row in told.ages if row.cold])
    assert told.age_us >= 10_000_000
    for _ in range(30):
        time.sleep(20)
        if work.rss_mib() < full - 80:
            break
    assert work.rss_mib() < full - 80
    text = rig.ctl("explain", "reclaim", "--address", hex(work.hot[0] + 4096)).stdout
    assert "age: auto is" in text
    assert "does not match" in text
    assert "access rate" in text
    assert rig.ctl("verify").returncode == 0


def test_who_observes_is_told_what_would_go(rig: Rig) -> None:
    rig.setup(QUIET)
    work = rig.workload(8, 96, "--pause", "0.5")
    rig.start()
    rig.put("reclaim", POLICY.format(pid=work.pid, mode="observe", age="{min: 30s}"))
    rig.wait_state("reclaim", "observing")
    wait_for("a prediction", lambda: _matched(rig) > 80 << 20, 600)
    told = _forecast(rig)
    assert told is not None
    (scheme,) = told.schemes
    assert 80 << 20 < scheme.matched < 200 << 20
    assert scheme.first <= 16 << 20
    assert scheme.per_s <= 16 << 20
    document = json.loads(rig.ctl("explain", "reclaim", "--json").stdout)
    assert document["regions"]["count"] >= 50
    assert work.swap_mib() == 0


def _forecast(rig: Rig) -> Forecast | None:
    status = rig.policy("reclaim")
    return status.forecast if status else None


def _matched(rig: Rig) -> int:
    told = _forecast(rig)
    return told.schemes[0].matched if told and told.schemes else 0
