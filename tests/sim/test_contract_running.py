"""The contract, third part: commit, status, ages, quotas (see test_contract.py)."""

from __future__ import annotations

import errno

import pytest

from tests.sim.contract import at_least, staged_filter
from tests.sim.subject import CONTEXT, SCHEME, STATE, TARGET, Subject


def _tried_count(damon: Subject) -> int:
    damon.put(STATE, "update_schemes_stats")
    return int(damon.get(f"{SCHEME}/stats/nr_tried"))


def test_a_failed_commit(damon: Subject) -> None:
    """≤ 6.14 reports success and ends the thread; later releases refuse and go on."""
    pid = damon.world.spawn()
    damon.stage(pid)
    damon.put(STATE, "on")
    damon.put(f"{TARGET}/pid_target", 4194304)
    if damon.kernel <= (6, 14):
        assert damon.refusal(STATE, "commit") == 0
        assert damon.until(lambda: damon.get(STATE) == "off")
    else:
        assert damon.refusal(STATE, "commit") == errno.EINVAL
        assert damon.get(STATE) == "on"


def test_a_failed_commit_of_a_scheme(damon: Subject) -> None:
    at_least(damon, 6, 15)
    base = staged_filter(damon, "ops_filters")
    damon.put(f"{TARGET}/pid_target", damon.world.spawn())
    damon.put(STATE, "on")
    damon.put(f"{base}/type", "memcg")
    damon.put(f"{base}/memcg_path", "/no/such/cgroup")
    assert damon.refusal(STATE, "commit") == errno.ENOMEM
    assert damon.get(STATE) == "on"


def test_status_changes_only_when_asked(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    tried = f"{SCHEME}/stats/nr_tried"
    damon.world.sleep(0.5)
    assert damon.get(tried) == "0"
    assert damon.until(lambda: _tried_count(damon) > 0)
    first = int(damon.get(tried))
    damon.world.sleep(0.5)
    assert int(damon.get(tried)) == first
    assert damon.until(lambda: _tried_count(damon) > first)


def test_statistics_and_thread_survive_commit_and_restart_at_on(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    assert damon.until(lambda: _tried_count(damon) >= 60, seconds=60)
    tried = f"{SCHEME}/stats/nr_tried"
    first, thread = int(damon.get(tried)), damon.get("kdamonds/0/pid")
    damon.put(f"{SCHEME}/quotas/bytes", 1 << 40)
    damon.put(STATE, "commit")
    damon.put(STATE, "update_schemes_stats")
    assert int(damon.get(tried)) >= first > 0
    assert damon.get("kdamonds/0/pid") == thread
    damon.put(STATE, "off")
    assert int(damon.get(tried)) >= first
    damon.put(STATE, "on")
    damon.put(STATE, "update_schemes_stats")
    assert int(damon.get(tried)) < first


def test_staged_is_not_running(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    damon.put(f"{SCHEME}/access_pattern/sz/max", 0)
    assert damon.until(lambda: _tried_count(damon) > 0)
    tried = f"{SCHEME}/stats/nr_tried"
    damon.put(STATE, "commit")
    damon.put(STATE, "update_schemes_stats")
    first = damon.get(tried)
    damon.world.sleep(0.5)
    damon.put(STATE, "update_schemes_stats")
    assert damon.get(tried) == first


def test_counts_are_cut_to_32_bits(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(f"{SCHEME}/access_pattern/age/max", 1 << 32)
    damon.put(f"{SCHEME}/access_pattern/nr_accesses/min", 1 << 32)
    damon.put(f"{SCHEME}/access_pattern/age/min", (1 << 32) + (1 << 31))
    damon.put(STATE, "on")
    damon.world.sleep(0.5)
    damon.put(STATE, "update_schemes_stats")
    assert damon.get(f"{SCHEME}/stats/nr_tried") == "0"
    assert damon.get(f"{SCHEME}/access_pattern/age/max") == "4294967296"
    damon.put(f"{SCHEME}/access_pattern/age/min", 1 << 32)
    damon.put(f"{SCHEME}/access_pattern/age/max", (1 << 33) - 1)
    damon.put(STATE, "commit")
    assert damon.until(lambda: _tried_count(damon) > 0)


def _oldest(damon: Subject) -> int:
    return max((region["age"] for region in damon.tried()), default=0)


@pytest.mark.parametrize("change", ["quotas/bytes", "watermarks/high", "nothing"])
def test_ages_survive_commit(damon: Subject, change: str) -> None:
    at_least(damon, 6, 2)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    assert damon.until(lambda: _oldest(damon) >= 5, seconds=60)
    oldest = _oldest(damon)
    if change != "nothing":
        damon.put(f"{SCHEME}/{change}", 1 << 40)
    damon.put(STATE, "commit")
    assert _oldest(damon) >= oldest


def test_ages_are_rescaled_with_the_intervals(damon: Subject) -> None:
    """Neither kept as counts nor forgotten: 20 s are 400 aggregations before and 40 after.

    The bounds leave 80 s for the aggregations of a slow machine in between. A snapshot of ≤ 6.13
    may miss the oldest region, so a few are taken.
    """
    at_least(damon, 6, 12)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    assert damon.until(lambda: _oldest(damon) >= 400, seconds=120)
    oldest = _oldest(damon)
    damon.put(f"{CONTEXT}/monitoring_attrs/intervals/sample_us", 50000)
    damon.put(f"{CONTEXT}/monitoring_attrs/intervals/aggr_us", 500000)
    damon.put(STATE, "commit")
    rescaled = max(_oldest(damon) for _ in range(3))
    assert oldest // 10 <= rescaled <= oldest // 2


def test_a_restart_forgets_ages(damon: Subject) -> None:
    at_least(damon, 6, 2)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    assert damon.until(lambda: _oldest(damon) >= 30, seconds=60)
    oldest = _oldest(damon)
    damon.put(STATE, "off")
    damon.put(STATE, "on")
    assert _oldest(damon) < oldest


def test_tried_regions_stay_until_cleared(damon: Subject) -> None:
    at_least(damon, 6, 6)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    damon.world.sleep(0.3)
    base = f"{SCHEME}/tried_regions"
    regions = damon.tried()
    total = sum(region["end"] - region["start"] for region in regions)
    assert int(damon.get(f"{base}/total_bytes")) == total > 0
    damon.put(STATE, "update_schemes_tried_bytes")
    assert damon.ls(base) == {"total_bytes"}
    assert int(damon.get(f"{base}/total_bytes")) > 0
    damon.put(STATE, "clear_schemes_tried_regions")
    assert damon.get(f"{base}/total_bytes") == "0"


def test_tried_regions_need_a_scheme(damon: Subject) -> None:
    at_least(damon, 6, 14)
    damon.stage(damon.world.spawn())
    damon.put(f"{CONTEXT}/schemes/nr_schemes", 0)
    damon.put(STATE, "on")
    assert damon.refusal(STATE, "update_schemes_tried_regions") == errno.ECANCELED


def test_clearing_works_when_off(damon: Subject) -> None:
    at_least(damon, 6, 2)
    damon.stage()
    expected = 0 if damon.kernel >= (6, 14) else errno.EINVAL
    assert damon.refusal(STATE, "clear_schemes_tried_regions") == expected


# quotas


def test_effective_quota_without_goals_is_the_size(damon: Subject) -> None:
    at_least(damon, 6, 9)
    damon.stage(damon.world.spawn())
    damon.put(f"{SCHEME}/quotas/bytes", 1 << 20)
    damon.put(f"{SCHEME}/quotas/reset_interval_ms", 200)
    damon.put(STATE, "on")
    effective = f"{SCHEME}/quotas/effective_bytes"
    damon.world.sleep(1.0)
    assert damon.get(effective) == "0"
    damon.put(STATE, "update_schemes_effective_quotas")
    assert damon.get(effective) == str(1 << 20)
    damon.put(f"{SCHEME}/quotas/bytes", 1 << 19)
    damon.put(STATE, "commit")
    damon.world.sleep(1.0)
    damon.put(STATE, "update_schemes_effective_quotas")
    assert damon.get(effective) == str(1 << 19)


def test_user_input_steers_the_effective_quota(damon: Subject) -> None:
    at_least(damon, 6, 9)
    damon.stage(damon.world.spawn())
    damon.put(f"{SCHEME}/quotas/bytes", 1 << 16)
    damon.put(f"{SCHEME}/quotas/reset_interval_ms", 100)
    damon.put(f"{SCHEME}/quotas/goals/nr_goals", 1)
    goal = f"{SCHEME}/quotas/goals/0"
    damon.put(f"{goal}/target_value", 10000)
    damon.put(STATE, "on")
    damon.world.sleep(5.0)
    damon.put(STATE, "update_schemes_effective_quotas")
    effective = f"{SCHEME}/quotas/effective_bytes"
    assert damon.get(effective) == str(1 << 16)
    damon.put(f"{goal}/current_value", 20000)
    damon.put(STATE, "commit_schemes_quota_goals")
    damon.world.sleep(1.0)
    damon.put(STATE, "update_schemes_effective_quotas")
    assert damon.get(effective) == "1"


def test_running_intervals_overwrite_the_staged_ones(damon: Subject) -> None:
    at_least(damon, 6, 15)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    path = f"{CONTEXT}/monitoring_attrs/intervals/aggr_us"
    damon.put(path, 70000)
    damon.put(STATE, "update_tuned_intervals")
    assert damon.get(path) == "50000"


def test_refreshing_is_live(damon: Subject) -> None:
    at_least(damon, 6, 17)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    tried = f"{SCHEME}/stats/nr_tried"
    damon.world.sleep(0.5)
    assert damon.get(tried) == "0"
    damon.put("kdamonds/0/refresh_ms", 50)
    assert damon.until(lambda: damon.get(tried) != "0")
    damon.put("kdamonds/0/refresh_ms", 0)
