"""The kernel's goal metrics measured again: it shows the current value of none of them."""

from __future__ import annotations

from dataclasses import dataclass

from damos_agent.host.cgroup import read_hierarchy
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.memory import read_cgroup_lru, read_meminfo, read_node_meminfo, read_psi
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.model.policy import Goal, GoalMetric

_BP = 10_000


@dataclass(frozen=True, slots=True)
class PsiSample:
    """The machine's memory stall time `total_us` (some), read at `at_us` of a steady clock."""

    at_us: int
    total_us: int


def read_psi_sample(fs: Filesystem, roots: Roots, now_us: int) -> PsiSample | None:
    """The stall time now; None where PSI is off."""
    psi = read_psi(fs, roots)
    return None if psi is None else PsiSample(now_us, psi.some.total_us)


def read_goal_current(
    fs: Filesystem,
    roots: Roots,
    goal: Goal,
    previous: PsiSample | None = None,
    now: PsiSample | None = None,
) -> int | None:
    """The goal's current value in the unit of its target; None for what cannot be measured.

    Follows damos_set_quota_goal_current_value() of mm/damon/core.c, except that memory pressure
    is a share of the time between the samples, and that a node which does not exist has no value.
    """
    match goal.metric:
        case GoalMetric.USER_INPUT:
            return goal.current
        case GoalMetric.MEMORY_PSI_SOME:
            return psi_share_bp(previous, now)
        case GoalMetric.NODE_MEM_USED | GoalMetric.NODE_MEM_FREE:
            return _read_node_share(fs, roots, goal)
        case GoalMetric.NODE_MEMCG_USED | GoalMetric.NODE_MEMCG_FREE:
            return _read_memcg_share(fs, roots, goal)
        case GoalMetric.ACTIVE_MEM | GoalMetric.INACTIVE_MEM:
            return _read_lru_share(fs, roots, goal.metric)
        case _:
            return None


def psi_share_bp(previous: PsiSample | None, now: PsiSample | None) -> int | None:
    """Share of the time between two samples in which some task waited for memory, in bp."""
    if previous is None or now is None or now.at_us <= previous.at_us:
        return None
    stalled = max(now.total_us - previous.total_us, 0)
    return min(stalled * _BP // (now.at_us - previous.at_us), _BP)


def _read_node_share(fs: Filesystem, roots: Roots, goal: Goal) -> int | None:
    info = read_node_meminfo(fs, roots, goal.nid or 0)
    if info is None or not info.get("MemTotal"):
        return None
    total, free = info["MemTotal"], info["MemFree"]
    return (free if goal.metric is GoalMetric.NODE_MEM_FREE else total - free) * _BP // total


def _read_memcg_share(fs: Filesystem, roots: Roots, goal: Goal) -> int | None:
    info = read_node_meminfo(fs, roots, goal.nid or 0)
    if info is None or not info.get("MemTotal") or goal.cgroup is None:
        return None
    try:
        directory = f"{read_hierarchy(fs, roots)}/{goal.cgroup.strip('/')}"
    except HostError:
        return None
    used = read_cgroup_lru(fs, directory, goal.nid or 0)
    if used is None:
        return None
    total = info["MemTotal"]
    return (used if goal.metric is GoalMetric.NODE_MEMCG_USED else total - used) * _BP // total


def _read_lru_share(fs: Filesystem, roots: Roots, metric: GoalMetric) -> int | None:
    info = read_meminfo(fs, roots)
    active, inactive = info.get("Active", 0), info.get("Inactive", 0)
    if active + inactive == 0:
        return None
    wanted = active if metric is GoalMetric.ACTIVE_MEM else inactive
    return wanted * _BP // (active + inactive)
