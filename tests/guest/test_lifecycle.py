"""A policy's whole life on a real kernel: dropped, edited, broken, removed."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.guest.rig import ADMIN, Rig, command, sysfs, wait_for

# In virtual time, so that a busy host changes nothing.
MACHINE = {"virtual_time": True, "apart": "lifecycle"}
pytestmark = [pytest.mark.guest(**MACHINE), pytest.mark.usefixtures("warm")]

POLICY = """\
apiVersion: damos-agent/v1
kind: Policy
metadata:
  name: reclaim
spec:
  mode: enforce
  backend: kernel
  target:
    pid: {pid}
  monitoring:
    sampling_interval: 5ms
    aggregation_interval: 100ms
    update_interval: 1s
  schemes:
    - action: pageout
      pattern:
        access_rate: {{min: 0%, max: 0%}}
        age: {{min: 2s}}
      quota:
        size: {size}
        interval: 1s
"""


def ages(slot: int) -> list[int]:
    """Ages of all regions, in aggregations. Before 6.14 a snapshot may come back empty."""
    found: list[int] = wait_for("a snapshot", lambda: snapshot_ages(slot))
    return found


def snapshot_ages(slot: int) -> list[int]:
    """What the census scheme tried in its next round."""
    command(slot, "update_schemes_tried_regions")
    count = int(sysfs(f"{slot}/contexts/0/schemes/nr_schemes"))
    base = f"{slot}/contexts/0/schemes/{count - 1}/tried_regions"
    try:
        names = [name for name in os.listdir(ADMIN / base) if name.isdigit()]
        return [int((ADMIN / base / name / "age").read_text()) for name in names]
    except OSError:  # the agent has asked, which removes the regions
        return []


def test_a_policy_from_drop_to_removal(rig: Rig) -> None:
    """Cold memory goes within the quota; an edit keeps kdamond and ages; removal undoes it."""
    work = rig.workload(hot_mib=8, cold_mib=96)
    rig.start()
    full = work.rss_mib()
    rig.put("reclaim", POLICY.format(pid=work.pid, size="8MiB"))
    status = rig.wait_state("reclaim", "active")
    slot, kdamond = status.slot, status.kdamond_pid
    assert sysfs(f"{slot}/pid") == str(kdamond)

    # Within the quota's rate, also in a kernel whose first window has no limit.
    wait_for("the first page-out", lambda: work.swap_mib() > 1)
    begun, before = time.monotonic(), work.swap_mib()
    time.sleep(4)
    rate = (work.swap_mib() - before) / (time.monotonic() - begun)
    assert 2 < rate < 8 * 1.6, f"{rate:.1f} MiB/s under a quota of 8 MiB/s"

    # The edit is one commit to the same kdamond.
    rig.put("reclaim", POLICY.format(pid=work.pid, size="64MiB"))
    wait_for(
        "the new quota", lambda: sysfs(f"{slot}/contexts/0/schemes/0/quotas/bytes") == str(64 << 20)
    )
    wait_for("its commit", lambda: _committed(rig, "bytes"))
    assert sysfs(f"{slot}/pid") == str(kdamond)
    command(slot, "update_schemes_effective_quotas")
    effective = int(sysfs(f"{slot}/contexts/0/schemes/0/quotas/effective_bytes"))
    wait_for("the effective quota", lambda: effective in (8 << 20, 64 << 20))
    wait_for("the cold memory to go", lambda: work.rss_mib() < full - 80)
    assert work.rss_mib() > 8

    # A bad edit: the error says where, the old version goes on.
    rig.put("reclaim", POLICY.format(pid=work.pid, size="64M"))
    rejected = wait_for("the rejection", lambda: rig.events("policy_rejected"))[-1]
    assert f"{rig.policies}/reclaim.yaml:20:15" in rejected["findings"][0]
    assert "MiB" in rejected["findings"][0]
    after = rig.policy("reclaim")
    assert after is not None
    assert after.state.value == "active"
    assert after.stale_since is not None
    assert sysfs(f"{slot}/pid") == str(kdamond)

    # Outcomes are told.
    outcome = wait_for(
        "an outcome",
        lambda: [e for e in rig.events("scheme_outcome") if e["sz_applied"] > 60 << 20],
    )
    assert outcome[-1]["policy"] == "reclaim"

    # Removal undoes it, and the last one gives the slots back.
    rig.remove("reclaim")
    wait_for("the pool to go", lambda: sysfs("nr_kdamonds") == "0")
    assert rig.stop() == 0
    assert not rig.events("reconcile_failed")


def test_an_edit_keeps_the_ages(rig: Rig) -> None:
    """What was learned outlives an edit. Observed only: the kernel forgets ages where it acts."""
    work = rig.workload(hot_mib=4, cold_mib=16)
    text = POLICY.replace("enforce", "observe").format(pid=work.pid, size="8MiB")
    rig.put("reclaim", text)
    rig.start()
    status = rig.wait_state("reclaim", "observing")
    wait_for("regions of a minute", lambda: max(ages(status.slot)) >= 600)
    begun = time.monotonic()
    rig.put("reclaim", text.replace("min: 2s", "min: 3s"))
    path = f"{status.slot}/contexts/0/schemes/0/access_pattern/age/min"
    wait_for("the new pattern", lambda: sysfs(path) == "30")
    wait_for("its commit", lambda: _committed(rig, "age"))
    kept, passed = max(ages(status.slot)), time.monotonic() - begun
    assert passed < 50, "too long to tell kept ages from new ones"
    assert kept >= 600
    assert sysfs(f"{status.slot}/pid") == str(status.kdamond_pid)


def _committed(rig: Rig, field: str) -> bool:
    told = rig.events("slot_committed")
    return any(event["change"] == "commit" and field in event["reason"] for event in told)


def test_in_sync_means_zero_writes(rig: Rig) -> None:
    """Once settled, resyncs and follow-ups write nothing."""
    rig.setup("spec: {resync_interval: 1s, follow_interval: 1s, outcome_interval: 1h}")
    work = rig.workload(hot_mib=4, cold_mib=16)
    rig.put("reclaim", POLICY.format(pid=work.pid, size="8MiB"))
    rig.start()
    rig.wait_state("reclaim", "active")
    time.sleep(4)
    writes = rig.status().sysfs_writes
    assert writes > 0
    time.sleep(5)
    assert rig.status().sysfs_writes == writes


def test_a_killed_agent_is_adopted(rig: Rig) -> None:
    """SIGKILL, then a new agent: the same kdamond goes on, nothing is restarted."""
    work = rig.workload(hot_mib=4, cold_mib=16)
    rig.put("reclaim", POLICY.format(pid=work.pid, size="8MiB"))
    rig.start()
    status = rig.wait_state("reclaim", "active")
    time.sleep(3)
    rig.kill()
    assert sysfs(f"{status.slot}/state") == "on"
    rig.start()
    again = rig.wait_state("reclaim", "active")
    assert (again.slot, again.kdamond_pid) == (status.slot, status.kdamond_pid)
    assert rig.events("kdamond_adopted")
    assert len(rig.events("slot_started")) == 1
    # Edited while nobody looked: also only a commit.
    rig.kill()
    rig.put("reclaim", POLICY.format(pid=work.pid, size="9MiB"))
    rig.start()
    third = rig.wait_state("reclaim", "active")
    wait_for(
        "the edit", lambda: sysfs(f"{third.slot}/contexts/0/schemes/0/quotas/bytes") == str(9 << 20)
    )
    assert third.kdamond_pid == status.kdamond_pid


def test_foreign_kdamonds_are_left_alone(rig: Rig) -> None:
    """Another tool's kdamond runs: nothing of it changes, the policy says why it does not run."""
    work = rig.workload(hot_mib=4, cold_mib=8)
    for path, value in (
        ("nr_kdamonds", "1"),
        ("0/contexts/nr_contexts", "1"),
        ("0/contexts/0/targets/nr_targets", "1"),
        ("0/contexts/0/targets/0/pid_target", str(work.pid)),
        ("0/state", "on"),
    ):
        (ADMIN / path).write_text(value)
    foreign = sysfs("0/pid")
    before = {
        p: p.read_text() for p in ADMIN.rglob("*") if p.is_file() and p.stat().st_mode & 0o200
    }
    rig.put("reclaim", POLICY.format(pid=work.pid, size="8MiB"))
    rig.start()
    status = rig.wait_state("reclaim", "unsupported")
    assert "somebody else" in status.reason
    assert rig.status().sysfs_writes == 0
    assert rig.stop() == 0
    assert sysfs("0/pid") == foreign
    after = {p: p.read_text() for p in ADMIN.rglob("*") if p.is_file() and p.stat().st_mode & 0o200}
    assert after == before


def test_a_process_that_comes_back_is_followed(rig: Rig) -> None:
    """Its exit is noticed at once; while nothing matches the policy waits; then it goes on."""
    text = POLICY.replace("pid: {pid}", "process: {{cmdline: tests.guest.workload}}")
    first, second = rig.workload(4, 8), rig.workload(4, 8)
    rig.put("reclaim", text.format(size="8MiB"))
    rig.start()
    status = rig.wait_state("reclaim", "active")
    assert status.targets == 2
    time.sleep(3)
    first.end()
    wait_for("one target", lambda: (rig.policy("reclaim") or status).targets == 1)
    assert sysfs(f"{status.slot}/pid") == str(status.kdamond_pid)
    third = rig.workload(4, 8)
    wait_for("two targets", lambda: (rig.policy("reclaim") or status).targets == 2)
    assert sysfs(f"{status.slot}/contexts/0/targets/0/pid_target") == str(third.pid)
    assert sysfs(f"{status.slot}/pid") == str(status.kdamond_pid)
    for work in (second, third):
        work.end()
    rig.wait_state("reclaim", "waiting")
    rig.workload(4, 8)
    again = rig.wait_state("reclaim", "active")
    assert again.targets == 1


def test_drift_is_put_back(rig: Rig) -> None:
    """Somebody edits sysfs or stops our kdamond: told and put back."""
    rig.setup("spec: {resync_interval: 1s, outcome_interval: 1h}")
    work = rig.workload(4, 8)
    rig.put("reclaim", POLICY.format(pid=work.pid, size="8MiB"))
    rig.start()
    status = rig.wait_state("reclaim", "active")
    time.sleep(3)
    (ADMIN / f"{status.slot}/contexts/0/schemes/0/quotas/bytes").write_text("4096")
    wait_for("drift", lambda: rig.events("drift_detected"))
    wait_for(
        "the quota to be back",
        lambda: sysfs(f"{status.slot}/contexts/0/schemes/0/quotas/bytes") == str(8 << 20),
    )
    wait_for(
        "its commit", lambda: any("bytes" in e["reason"] for e in rig.events("slot_committed"))
    )
    command(status.slot, "off")
    wait_for(
        "a new kdamond",
        lambda: (rig.policy("reclaim") or status).kdamond_pid not in (-1, status.kdamond_pid),
    )
    assert rig.status().drift["reclaim"] == 2


def test_damosctl_sees_what_runs(rig: Rig) -> None:
    """status, plan and verify of a running kdamond: all is well, then one field is not."""
    work = rig.workload(hot_mib=4, cold_mib=16)
    rig.put("reclaim", POLICY.format(pid=work.pid, size="8MiB"))
    rig.start()
    status = rig.wait_state("reclaim", "active")
    time.sleep(3)  # for the follow-ups of a start
    table = rig.ctl("status")
    assert table.returncode == 0, table.stderr
    assert "reclaim" in table.stdout
    assert "active" in table.stdout
    told = json.loads(rig.ctl("status", "--json").stdout)["policies"][0]
    assert (told["backend"], told["kdamond_pid"]) == ("kernel", status.kdamond_pid)
    verified = rig.ctl("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    planned = rig.ctl("plan", "--detailed-exitcode")
    assert planned.returncode == 0, planned.stdout + planned.stderr

    rig.kill()  # or it would put the field back
    (ADMIN / f"{status.slot}/contexts/0/schemes/0/quotas/bytes").write_text("4096")
    verified = rig.ctl("verify")
    assert verified.returncode == 1
    assert "quotas/bytes" in verified.stdout
    planned = rig.ctl("plan", "--detailed-exitcode")
    assert planned.returncode == 2, planned.stdout + planned.stderr
    assert "quotas/bytes" in planned.stdout
    assert str(8 << 20) in planned.stdout


@pytest.mark.guest(kernels=("7.3",), **MACHINE)
def test_damon_stat_is_respected_or_suspended(rig: Rig) -> None:
    """On by default on 7.3: named as the reason, or switched off and given back."""
    from tests.vm.guestlib import DAMON_STAT, set_damon_stat

    set_damon_stat(enabled=True)
    work = rig.workload(4, 8)
    rig.put("reclaim", POLICY.format(pid=work.pid, size="8MiB"))
    rig.start()
    status = rig.wait_state("reclaim", "unsupported")
    assert "DAMON_STAT" in status.reason
    assert DAMON_STAT.read_text().strip() == "Y"
    rig.setup("spec: {damon_stat: suspend, outcome_interval: 1h}")
    rig.wait_state("reclaim", "active")
    assert DAMON_STAT.read_text().strip() == "N"
    rig.kill()
    rig.start()
    rig.wait_state("reclaim", "active")
    assert rig.stop() == 0
    assert DAMON_STAT.read_text().strip() == "Y"
    set_damon_stat(enabled=False)
