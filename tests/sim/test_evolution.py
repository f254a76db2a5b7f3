"""Time in the simulation: ages, heat, quotas, watermarks, snapshots, the tuner's hook."""

from __future__ import annotations

import pytest

from tests.sim.damon import SimulatedDamon
from tests.sim.host import MIB
from tests.sim.subject import CONTEXT, SCHEME, STATE, Subject, simulated

AREAS = ((64 * MIB, 128 * MIB), (1024 * MIB, 1088 * MIB), (4096 * MIB, 4112 * MIB))
TOTAL = 144 * MIB


def _started(kernel: str, hot: tuple[tuple[int, int], ...] = ()) -> tuple[Subject, SimulatedDamon]:
    subject = simulated(kernel)
    damon = subject.fs
    assert isinstance(damon, SimulatedDamon)
    subject.stage(damon.host.processes.spawn(AREAS, hot))
    subject.put(f"{CONTEXT}/monitoring_attrs/intervals/aggr_us", 100000)
    return subject, damon


def _stats(subject: Subject) -> dict[str, int]:
    subject.put(STATE, "update_schemes_stats")
    names = subject.ls(f"{SCHEME}/stats")
    return {name: int(subject.get(f"{SCHEME}/stats/{name}")) for name in names}


def test_ages_count_aggregations_and_survive_commits() -> None:
    subject, damon = _started("7.3")
    subject.put(STATE, "on")
    damon.advance(3)
    assert {region.age for region in damon.regions()} == {30}
    subject.put(f"{SCHEME}/quotas/bytes", 4096)
    subject.put(STATE, "commit")
    damon.advance(1)
    assert {region.age for region in damon.regions()} == {40}


@pytest.mark.parametrize(("kernel", "count"), [("6.12", 3), ("7.3", 12)])
def test_first_regions_are_the_mapped_areas(kernel: str, count: int) -> None:
    subject, damon = _started(kernel)
    subject.put(STATE, "on")
    regions = damon.regions()
    assert len(regions) == count
    assert sum(region.size for region in regions) == TOTAL


def test_heat_separates_regions_and_a_change_of_heat_makes_them_young() -> None:
    hot = ((64 * MIB, 72 * MIB),)
    subject, damon = _started("7.3", hot)
    subject.put(STATE, "on")
    damon.advance(2)
    warm = [region for region in damon.regions() if region.nr]
    assert [(region.start, region.end, region.nr) for region in warm] == [(*hot[0], 20)]
    pid = int(subject.get(f"{CONTEXT}/targets/0/pid_target"))
    damon.host.processes.table[pid].hot = ()
    damon.advance(0.1)
    cooled, *rest = damon.regions()
    assert cooled.age < 10 < min(region.age for region in rest)


def test_mappings_are_followed_at_the_update_interval() -> None:
    subject, damon = _started("7.3")
    subject.put(f"{CONTEXT}/monitoring_attrs/intervals/update_us", 1_000_000)
    subject.put(STATE, "on")
    pid = int(subject.get(f"{CONTEXT}/targets/0/pid_target"))
    grown = (AREAS[0][0], 256 * MIB)
    damon.host.processes.table[pid].mappings = (grown, *AREAS[1:])
    damon.advance(0.5)
    assert sum(region.size for region in damon.regions()) == TOTAL
    damon.advance(0.6)
    assert sum(region.size for region in damon.regions()) == TOTAL + 128 * MIB
    assert max(region.age for region in damon.regions()) >= 10


def test_a_quota_limits_every_window() -> None:
    subject, damon = _started("7.3")
    subject.put(f"{SCHEME}/action", "pageout")
    subject.put(f"{SCHEME}/quotas/bytes", MIB)
    subject.put(f"{SCHEME}/quotas/reset_interval_ms", 1000)
    subject.put(STATE, "on")
    damon.advance(10)
    stats = _stats(subject)
    assert stats["sz_tried"] == stats["sz_applied"] == 10 * MIB
    assert stats["qt_exceeds"] == 9


def test_the_first_window_is_unlimited_before_6_18() -> None:
    subject, damon = _started("6.12")
    subject.put(f"{SCHEME}/action", "pageout")
    subject.put(f"{SCHEME}/quotas/bytes", MIB)
    subject.put(f"{SCHEME}/quotas/reset_interval_ms", 1000)
    subject.put(STATE, "on")
    damon.advance(0.5)
    assert _stats(subject)["sz_tried"] >= TOTAL


def test_stat_applies_nothing_and_keeps_ages() -> None:
    subject, damon = _started("7.3")
    subject.put(STATE, "on")
    damon.advance(1)
    stats = _stats(subject)
    assert (stats["sz_tried"], stats["nr_applied"]) == (10 * TOTAL, 0)
    assert min(region.age for region in damon.regions()) == 10


def test_unsupported_actions_are_tried_and_reset_ages() -> None:
    subject, damon = _started("7.3")
    subject.put(f"{SCHEME}/action", "lru_prio")
    subject.put(STATE, "on")
    damon.advance(1)
    stats = _stats(subject)
    assert stats["nr_tried"] > 0 == stats["nr_applied"]
    assert {region.age for region in damon.regions()} == {0}


def test_the_consist_tuner_doubles_from_one_byte() -> None:
    subject, damon = _started("7.3")
    subject.put(f"{SCHEME}/quotas/bytes", MIB)
    subject.put(f"{SCHEME}/quotas/reset_interval_ms", 100)
    subject.put(f"{SCHEME}/quotas/goals/nr_goals", 1)
    subject.put(f"{SCHEME}/quotas/goals/0/target_value", 100)
    subject.put(STATE, "on")
    seen = []
    for _ in range(21):
        damon.advance(0.1)
        subject.put(STATE, "update_schemes_effective_quotas")
        seen.append(int(subject.get(f"{SCHEME}/quotas/effective_bytes")))
    assert seen == [min(2 << step, MIB) for step in range(21)]


def test_the_temporal_tuner_is_all_or_nothing() -> None:
    subject, damon = _started("7.3")
    subject.put(f"{SCHEME}/quotas/bytes", MIB)
    subject.put(f"{SCHEME}/quotas/goal_tuner", "temporal")
    subject.put(f"{SCHEME}/quotas/goals/nr_goals", 1)
    subject.put(f"{SCHEME}/quotas/goals/0/target_metric", "some_mem_psi_us")
    subject.put(f"{SCHEME}/quotas/goals/0/target_value", 100)
    subject.put(STATE, "on")
    effective = []
    for psi in (0, 99, 100, 0):
        damon.host.metrics["some_mem_psi_us"] = psi
        damon.advance(0.1)
        subject.put(STATE, "update_schemes_effective_quotas")
        effective.append(int(subject.get(f"{SCHEME}/quotas/effective_bytes")))
    assert effective == [MIB, MIB, 0, MIB]


def test_a_scheme_out_of_its_watermarks_rests_and_freezes_ages() -> None:
    subject, damon = _started("7.3")
    marks = f"{SCHEME}/watermarks"
    subject.put(f"{marks}/metric", "free_mem_rate")
    for name, value in (("high", 400), ("mid", 300), ("low", 100)):
        subject.put(f"{marks}/{name}", value)
    subject.put(STATE, "on")
    damon.host.free_mem_rate = 500
    damon.advance(5)
    assert {region.age for region in damon.regions()} == {0}
    damon.host.free_mem_rate = 350
    damon.advance(1)
    assert {region.age for region in damon.regions()} == {0}
    damon.host.free_mem_rate = 299
    damon.advance(1)
    assert {region.age for region in damon.regions()} == {10}


def test_pausing_freezes_ages() -> None:
    subject, damon = _started("7.3")
    subject.put(STATE, "on")
    subject.put(f"{CONTEXT}/pause", "Y")
    subject.put(STATE, "commit")
    damon.advance(5)
    assert {region.age for region in damon.regions()} == {0}


def test_target_filters_show_one_target() -> None:
    subject, damon = _started("7.3")
    subject.put(f"{CONTEXT}/targets/nr_targets", 2)
    for index in (0, 1):
        pid = damon.host.processes.spawn(AREAS)
        subject.put(f"{CONTEXT}/targets/{index}/pid_target", pid)
    subject.put(f"{SCHEME}/core_filters/nr_filters", 1)
    for name, value in (("type", "target"), ("damon_target_idx", "1"), ("allow", "Y")):
        subject.put(f"{SCHEME}/core_filters/0/{name}", value)
    subject.put(f"{SCHEME}/core_filters/0/matching", "Y")
    subject.put(STATE, "on")
    assert sum(region["end"] - region["start"] for region in subject.tried()) == TOTAL


def test_address_filters_cut_regions() -> None:
    subject, _ = _started("7.3")
    subject.put(f"{SCHEME}/core_filters/nr_filters", 1)
    base = f"{SCHEME}/core_filters/0"
    subject.put(f"{base}/type", "addr")
    subject.put(f"{base}/matching", "Y")
    subject.put(f"{base}/addr_start", 70 * MIB)
    subject.put(f"{base}/addr_end", 71 * MIB)
    subject.put(STATE, "on")
    assert sum(region["end"] - region["start"] for region in subject.tried()) == TOTAL - MIB


def test_a_snapshot_limit_stops_a_scheme() -> None:
    subject, damon = _started("7.3")
    subject.put(f"{SCHEME}/stats/max_nr_snapshots", 3)
    subject.put(STATE, "on")
    damon.advance(2)
    assert _stats(subject)["sz_tried"] == 3 * TOTAL


def test_a_commit_throws_the_tuner_back_to_the_staged_intervals() -> None:
    subject, damon = _started("7.3")
    subject.put(STATE, "on")
    damon.tune(0, 50000, 1000000)
    damon.advance(5)
    subject.put(STATE, "update_tuned_intervals")
    assert subject.get(f"{CONTEXT}/monitoring_attrs/intervals/sample_us") == "50000"
    subject.put(f"{CONTEXT}/monitoring_attrs/intervals/sample_us", 5000)
    subject.put(f"{CONTEXT}/monitoring_attrs/intervals/aggr_us", 100000)
    subject.put(STATE, "commit")
    subject.put(STATE, "update_tuned_intervals")
    assert subject.get(f"{CONTEXT}/monitoring_attrs/intervals/aggr_us") == "100000"


def test_tried_bytes_wait_for_the_slowest_scheme() -> None:
    subject, damon = _started("7.3")
    subject.put(f"{SCHEME}/apply_interval_us", 2_000_000)
    subject.put(STATE, "on")
    subject.put(STATE, "update_schemes_tried_bytes")
    assert damon.now_us == 2_000_000
    assert int(subject.get(f"{SCHEME}/tried_regions/total_bytes")) == TOTAL
