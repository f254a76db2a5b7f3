"""A cgroup served as a whole: by the multi-gen LRU's ages, or by memory.reclaim alone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guest.measure import range_use
from tests.guest.rig import Rig, Workload, wait_for
from tests.vm.guestlib import CGROUPS, cgroup, require_guest

MACHINE = {"virtual_time": True, "apart": "group"}
with_mglru = pytest.mark.guest(kernels=("6.12", "7.3"), **MACHINE)
newest = pytest.mark.guest(kernels=("7.3",), **MACHINE)

pytestmark = pytest.mark.usefixtures("warm")

DEBUGFS = Path("/sys/kernel/debug")
HOT_MIB, COLD_MIB, RATE_MIB = 16, 96, 8
POLICY = f"""\
apiVersion: damos-agent/v1
kind: Policy
metadata:
  name: reclaim
spec:
  mode: enforce
  backend: userspace
  target:
    cgroup: {{path: /work}}
  monitoring:
    sampling_interval: 100ms
    aggregation_interval: 2s
    userspace: {{probe: memcg, cpu: 5%}}
  schemes:
    - action: pageout
      pattern:
        access_rate: {{max: 0%}}
        age: {{min: 4s}}
      quota:
        size: {RATE_MIB}MiB
        interval: 1s
"""


@pytest.fixture
def debugfs() -> Iterator[None]:
    """Where the multi-gen LRU is read and told what to do; guests begin without."""
    require_guest()
    subprocess.run(["mount", "-t", "debugfs", "none", str(DEBUGFS)], check=True)
    yield
    subprocess.run(["umount", str(DEBUGFS)], check=True)


@contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Whoever is started here has its memory charged to that cgroup."""
    (directory / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (CGROUPS / "cgroup.procs").write_text(str(os.getpid()))


def hot_and_cold(rig: Rig, directory: Path) -> tuple[Workload, Workload]:
    """A process that uses nearly all of its memory, and one that uses nearly none."""
    with inside(directory):
        return rig.workload(HOT_MIB, 1), rig.workload(1, COLD_MIB)


def gone_share(cold: Workload) -> float:
    return range_use(cold.pid, cold.cold).swap / COLD_MIB


def hot_share(hot: Workload) -> float:
    return range_use(hot.pid, hot.hot).rss / HOT_MIB


def wait_until_it_goes(hot: Workload, cold: Workload) -> None:
    wait_for("the cold memory to go", lambda: gone_share(cold) > 0.9)
    print(f"cold gone {gone_share(cold):.0%}, hot resident {hot_share(hot):.0%}")
    assert hot_share(hot) > 0.9


@with_mglru
@pytest.mark.usefixtures("debugfs")
def test_by_age_the_cold_goes_at_the_quota_s_rate_and_a_new_cgroup_is_followed(rig: Rig) -> None:
    with cgroup("work") as directory:
        hot, cold = hot_and_cold(rig, directory)
        rig.put("reclaim", POLICY)
        rig.start()
        now = rig.wait_state("reclaim", "active")
        assert (now.probe, now.granularity) == ("memcg", "cgroup")
        wait_for("page-out to begin", lambda: cold.swap_mib() > 4)
        begun, before = time.monotonic(), cold.swap_mib()
        time.sleep(5)
        seconds, taken = time.monotonic() - begun, cold.swap_mib() - before
        print(f"{taken:.0f} MiB in {seconds:.1f} s")
        # The quota is applied in rounds, of which one more may lie in that time. While the host is
        # busy, its clock may jump: less proves nothing.
        assert 0 < taken < RATE_MIB * (seconds + 3)
        wait_until_it_goes(hot, cold)
        (now,) = rig.status().policies
        assert now.ages[-1].anonymous_bytes > HOT_MIB << 20
        told = rig.ctl("status")
        print(told.stdout, told.stderr, rig.status().probes)
        assert "probe memcg (tells by cgroup)" in told.stdout
        outcome = wait_for("an outcome", lambda: rig.events("scheme_outcome")[-1:])[0]
        assert (outcome["probe"], outcome["regions"]) == ("memcg", None)
        hot.end()
        cold.end()
    rig.wait_state("reclaim", "waiting")
    with cgroup("work") as directory:
        hot, cold = hot_and_cold(rig, directory)
        rig.wait_state("reclaim", "active")
        wait_until_it_goes(hot, cold)
        hot.end()
        cold.end()
    assert rig.stop() == 0


@newest
@pytest.mark.usefixtures("debugfs")
def test_it_stands_in_where_no_process_bears_to_be_looked_at(rig: Rig) -> None:
    """By the governor's word: a walk would hold up a process longer than the policy allows."""
    with cgroup("work") as directory:
        hot, cold = hot_and_cold(rig, directory)
        rig.put("reclaim", POLICY.replace("probe: memcg", "stall: 10us"))
        rig.start()
        wait_for("the cgroup to be served", lambda: rig.status().policies[0].probe == "memcg")
        (now,) = rig.status().policies
        print(now.notes)
        assert any("served as a whole" in note and "stall" in note for note in now.notes)
        wait_until_it_goes(hot, cold)
        hot.end()
        cold.end()
    assert rig.stop() == 0


@newest
def test_without_ages_memory_reclaim_works_by_the_quota(rig: Rig) -> None:
    """Which of its memory, the kernel chooses. Nothing is mounted where ages could be read."""
    with cgroup("work") as directory:
        hot, cold = hot_and_cold(rig, directory)
        # Memory in use goes along, which the budget would put an end to for minutes.
        rig.put("reclaim", POLICY.replace("spec:", "spec:\n  guard: {refaults: max}"))
        rig.start()
        now = rig.wait_state("reclaim", "active")
        assert any("memory.reclaim takes what the kernel chooses" in note for note in now.notes)
        wait_for("page-out to begin", lambda: cold.swap_mib() + hot.swap_mib() > 4)
        begun, before = time.monotonic(), cold.swap_mib() + hot.swap_mib()
        time.sleep(5)
        seconds = time.monotonic() - begun
        taken = cold.swap_mib() + hot.swap_mib() - before
        print(f"{taken:.0f} MiB in {seconds:.1f} s, hot resident {hot_share(hot):.0%}")
        assert taken < RATE_MIB * (seconds + 3)
        wait_for("half of the cold memory to go", lambda: gone_share(cold) > 0.5)
        assert hot_share(hot) > 0.5
        (now,) = rig.status().policies
        print(now.notes, now.schemes)
        assert now.schemes[0].matched_bytes is None
        hot.end()
        cold.end()
    assert rig.stop() == 0
