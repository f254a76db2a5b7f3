"""Without DAMON the same policy does the same: monitored and acted on from user space."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.guest.measure import range_use
from tests.guest.rig import ADMIN, Rig, Workload, sysfs, wait_for

# In virtual time: figures do not depend on how busy the host is.
MACHINE = {"virtual_time": True, "apart": "userspace"}
all_kernels = pytest.mark.guest(kernels=("6.1", "6.12", "7.3"), **MACHINE)
with_damon = pytest.mark.guest(kernels=("6.12", "7.3"), **MACHINE)
newest = pytest.mark.guest(kernels=("7.3",), **MACHINE)

pytestmark = pytest.mark.usefixtures("warm")

POLICY = """\
apiVersion: damos-agent/v1
kind: Policy
metadata:
  name: reclaim
spec:
  mode: enforce
  backend: {backend}
  target:
    pid: {pid}
  monitoring:
    sampling_interval: 5ms
    aggregation_interval: 100ms
    update_interval: 1s
    userspace: {{probe: {probe}, cpu: {cpu}}}
  schemes:
    - action: pageout
      pattern:
        access_rate: {{min: 0%, max: 0%}}
        age: {{min: 4s}}
      quota:
        size: {quota}MiB
        interval: 1s
"""
HOT_MIB, COLD_MIB = 16, 96


def policy(work: Workload, backend: str, probe: str = "auto", quota: int = 8) -> str:
    """On an emulated machine a sample by page table entries takes a hundred times its time."""
    cpu = "60%" if probe == "pte" else "5%"
    return POLICY.format(backend=backend, pid=work.pid, probe=probe, cpu=cpu, quota=quota)


def saved_share(
    rig: Rig, backend: str, seconds: float, probe: str = "auto", quota: int = 8
) -> float:
    """How much of its cold memory a process has lost that long after it began in earnest.

    User space begins later: it looks less often, and canaries go first. And either may begin with
    what the interpreter has mapped, which is charged whole, and of which little is in memory.
    """
    work = rig.workload(HOT_MIB, COLD_MIB)
    rig.put("reclaim", policy(work, backend, probe, quota))
    wait_for("page-out to begin", lambda: range_use(work.pid, work.cold).swap > 8)
    time.sleep(seconds)
    share = range_use(work.pid, work.cold).swap / COLD_MIB
    assert range_use(work.pid, work.hot).rss > HOT_MIB * 0.9, backend
    rig.remove("reclaim")
    wait_for("nothing to be in force", lambda: not rig.status().policies)
    work.end()
    return share


@all_kernels
def test_cold_memory_goes_and_what_is_in_use_stays(rig: Rig) -> None:
    """Also on a kernel without DAMON, from drop to removal."""
    work = rig.workload(HOT_MIB, COLD_MIB)
    rig.put("reclaim", policy(work, "userspace"))
    rig.start()
    now = rig.wait_state("reclaim", "active")
    assert (now.backend, now.probe, now.granularity) == ("userspace", "vma", "mapping")
    wait_for("the cold memory to go", lambda: range_use(work.pid, work.cold).swap > 0.9 * COLD_MIB)
    assert range_use(work.pid, work.hot).rss > HOT_MIB * 0.9
    told = wait_for("an outcome", lambda: _applied(rig))
    assert told["backend"] == "userspace"
    assert told["probe"] == "vma"
    assert rig.status().sysfs_writes == 0
    rig.remove("reclaim")
    wait_for("the monitor to end", lambda: rig.status().monitor_pid is None)
    assert rig.stop() == 0
    assert not list((rig.run / "monitors").iterdir())


def _applied(rig: Rig) -> dict[str, object] | None:
    told = [e for e in rig.events("scheme_outcome") if e["sz_applied"] > 0.85 * COLD_MIB * 2**20]
    return told[-1] if told else None


@with_damon
def test_both_backends_save_the_same_under_the_same_quota(rig: Rig) -> None:
    """Within ten points, half-way: while the quota still limits both.

    So low a quota that it is the quota: emulated, paging out 8 MiB takes more than half a second of
    CPU, which is all that user space may spend on it.
    """
    rig.start()
    kernel = saved_share(rig, "kernel", 16, quota=2)
    userspace = saved_share(rig, "userspace", 16, quota=2)
    print(f"of {COLD_MIB} MiB: kernel {kernel:.0%}, user space {userspace:.0%}")
    assert 0.2 < kernel < 0.9
    assert abs(kernel - userspace) <= 0.1, f"kernel {kernel:.0%}, user space {userspace:.0%}"


@with_damon
def test_page_table_bits_do_too(rig: Rig) -> None:
    """The experimental probe, which tells pages apart."""
    rig.start()
    share = saved_share(rig, "userspace", 16, "pte")
    assert share > 0.9


@newest
def test_beside_a_foreign_kdamond_and_back_to_the_kernel(rig: Rig) -> None:
    """auto: user space while somebody else has DAMON, the kernel once it was free for a while."""
    work = rig.workload(HOT_MIB, COLD_MIB)
    _foreign(work)
    rig.put("reclaim", policy(work, "auto"))
    rig.start()
    now = rig.wait_state("reclaim", "active")
    assert now.backend == "userspace"
    assert "somebody else" in now.backend_reason
    wait_for("a page-out", lambda: work.swap_mib() > 8)
    assert sysfs("0/state") == "on"

    (ADMIN / "0/state").write_text("off")
    (ADMIN / "nr_kdamonds").write_text("0")
    wait_for("the kernel", lambda: _backend(rig) == "kernel")
    changes = [(e["was"], e["backend"]) for e in rig.events("backend_changed")]
    assert changes == [("none", "userspace"), ("userspace", "kernel")]
    assert rig.status().monitor_pid is None
    wait_for("the rest to go", lambda: range_use(work.pid, work.cold).swap > 0.9 * COLD_MIB)
    assert rig.stop() == 0


def _backend(rig: Rig) -> str:
    now = rig.policy("reclaim")
    return now.backend if now else ""


def _foreign(work: Workload) -> None:
    for path, value in (
        ("nr_kdamonds", "1"),
        ("0/contexts/nr_contexts", "1"),
        ("0/contexts/0/targets/nr_targets", "1"),
        ("0/contexts/0/targets/0/pid_target", str(work.pid)),
        ("0/state", "on"),
    ):
        (ADMIN / path).write_text(value)


@all_kernels
def test_a_killed_monitor_is_replaced_and_a_killed_agent_takes_it_along(rig: Rig) -> None:
    """SIGKILL for either: no orphan goes on acting, and the policy goes on."""
    work = rig.workload(HOT_MIB, COLD_MIB)
    rig.put("reclaim", policy(work, "userspace"))
    rig.start()
    rig.wait_state("reclaim", "active")
    first = rig.status().monitor_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for("another monitor", lambda: rig.status().monitor_pid not in (None, first))
    rig.wait_state("reclaim", "active")
    assert any("signal 9" in e["reason"] for e in rig.events("monitor_ended"))

    second = rig.status().monitor_pid
    rig.kill()
    wait_for("the monitor to go", lambda: not Path(f"/proc/{second}").exists(), 10)
    rig.start()
    rig.wait_state("reclaim", "active")
    wait_for("the cold memory to go", lambda: range_use(work.pid, work.cold).swap > 0.9 * COLD_MIB)
