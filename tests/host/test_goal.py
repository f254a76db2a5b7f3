"""Goal metrics as the kernel would measure them."""

from __future__ import annotations

import errno

import pytest

from damos_agent.host.goal import PsiSample, psi_share_bp, read_goal_current, read_psi_sample
from damos_agent.host.roots import Roots
from damos_agent.model.policy import Goal, GoalMetric
from tests.host.fakes import FakeFilesystem
from tests.host.test_memory import NODE, NUMA_STAT, PRESSURE


def machine() -> FakeFilesystem:
    return FakeFilesystem(
        {
            "/proc/meminfo": "MemTotal: 9000 kB\nMemFree: 1 kB\nActive: 100 kB\nInactive: 300 kB\n",
            "/proc/pressure/memory": PRESSURE,
            "/sys/devices/system/node/node1/meminfo": NODE,
            "/sys/fs/cgroup/cgroup.controllers": "memory",
            "/sys/fs/cgroup/a.slice/memory.numa_stat": NUMA_STAT.replace("N1=", "N1=1024"),
        }
    )


def current(metric: GoalMetric, fs: FakeFilesystem | None = None, nid: int = 1) -> int | None:
    goal = Goal(metric, 1, nid=nid, cgroup="/a.slice")
    return read_goal_current(fs or machine(), Roots(), goal)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (GoalMetric.NODE_MEM_USED, 7500),
        (GoalMetric.NODE_MEM_FREE, 2500),
        (GoalMetric.ACTIVE_MEM, 2500),
        (GoalMetric.INACTIVE_MEM, 7500),
        # 102410 + 102420 + 102430 + 102440 bytes of 2000 KiB
        (GoalMetric.NODE_MEMCG_USED, 409_700 * 10_000 // 2_048_000),
        (GoalMetric.NODE_MEMCG_FREE, (2_048_000 - 409_700) * 10_000 // 2_048_000),
        (GoalMetric.NODE_ELIGIBLE_MEM, None),
        (GoalMetric.RSS, None),
        (GoalMetric.MEMORY_PSI_SOME, None),
    ],
)
def test_shares_are_those_of_the_kernel(metric: GoalMetric, value: int | None) -> None:
    assert current(metric) == value


def test_a_missing_node_cgroup_or_hierarchy_has_no_value() -> None:
    assert current(GoalMetric.NODE_MEM_FREE, nid=7) is None
    assert current(GoalMetric.NODE_MEMCG_USED, nid=7) is None
    fs = machine()
    fs.remove("/sys/fs/cgroup/a.slice")
    assert current(GoalMetric.NODE_MEMCG_USED, fs) is None
    fs.remove("/sys/fs/cgroup")
    assert current(GoalMetric.NODE_MEMCG_FREE, fs) is None


def test_a_machine_without_lru_figures_has_no_value() -> None:
    assert current(GoalMetric.ACTIVE_MEM, FakeFilesystem({"/proc/meminfo": "X: 1 kB"})) is None


def test_user_input_is_what_the_policy_says() -> None:
    goal = Goal(GoalMetric.USER_INPUT, 100, current=40)
    assert read_goal_current(machine(), Roots(), goal) == 40


@pytest.mark.parametrize(
    ("previous", "now", "share"),
    [
        (PsiSample(0, 0), PsiSample(1_000_000, 10_000), 100),
        (PsiSample(5, 70), PsiSample(10_005, 70), 0),
        (PsiSample(0, 500), PsiSample(1_000, 400), 0),
        (PsiSample(0, 0), PsiSample(1_000, 5_000), 10_000),
        (PsiSample(9, 0), PsiSample(9, 5), None),
        (None, PsiSample(9, 5), None),
        (PsiSample(9, 5), None, None),
    ],
)
def test_pressure_is_a_share_of_the_time_between_samples(
    previous: PsiSample | None, now: PsiSample | None, share: int | None
) -> None:
    assert psi_share_bp(previous, now) == share
    goal = Goal(GoalMetric.MEMORY_PSI_SOME, 1)
    assert read_goal_current(machine(), Roots(), goal, previous, now) == share


def test_a_sample_is_the_some_total_or_nothing() -> None:
    assert read_psi_sample(machine(), Roots(), 77) == PsiSample(77, 123456)
    off = FakeFilesystem({"/proc/pressure/memory": errno.EOPNOTSUPP})
    assert read_psi_sample(off, Roots(), 77) is None
