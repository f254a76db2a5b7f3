# SPDX-License-Identifier: Apache-2.0
"""Windows and tables of the benchmarks of user space."""

import pytest

from tests.bench.cost_windows import Plan, Window, between, mmaps_ms, speeds
from tests.bench.monitoring_cost import Setup
from tests.bench.userspace_tables import accuracy, cost, harm, ranged, saved_at, savings, storms
from tests.load.progress import Progress
from tests.load.truth import check

ON, OFF = Window(True, 80.0, 5000.0), Window(False, 100.0, 1000.0)
TOLD = {
    "monitor": "pte", "kind": "anon", "case": "HotCold", "precision": 1.0, "recall": 0.9,
    "f1": 0.95, "working_set_error": -0.1, "rate_error": 0.01, "age_error_s": 3.0,
    "cold_found": 0.9, "hot_as_cold": 0.0, "mapping_error": 0.02, "found_s": 4.0, "sample_s": 0.1,
}  # fmt: skip
COST = {
    "kind": "4K", "gib": 1.0, "processes": 1, "probe": "pte", "cpu_percent": [0.5, 1.5],
    "speed": [0.9, 1.0], "regions": 100, "sample_us": 100_000, "aggr_us": 2_000_000,
    "mmap_on_ms": [5.0], "mmap_off_ms": [1.0], "latency": False,
}  # fmt: skip


def cells(text: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]


def test_windows_are_compared_in_pairs_whichever_came_first() -> None:
    """The target's speed with the monitor over that without."""
    windows = [ON, OFF, OFF, ON]
    assert speeds(windows) == pytest.approx([0.8, 0.8])
    assert (mmaps_ms(windows, on=True), mmaps_ms(windows, on=False)) == ([5.0, 5.0], [1.0, 1.0])


def test_a_window_holds_a_round_unless_rounds_are_very_rare() -> None:
    """Of those that take a minute none would do."""
    plan = Plan(3, 4.0, 8.0)
    assert [plan.for_rounds(aggr_s) for aggr_s in (2.0, 7.0, 60.0)] == [4.0, 7.0, 16.0]


def test_progress_of_a_window_needs_two_lines() -> None:
    """Else nothing is known of it."""
    lines = [Progress(at, at, 0, 0.0) for at in (0.0, 1.0, 2.0, 3.0)]
    assert [line.at_s for line in between(lines, 0.5, 2.5)] == [1.0, 2.0]
    assert between(lines, 0.5, 1.5) == []


def test_a_range_tells_lowest_and_highest_if_they_differ() -> None:
    """The number of values is told elsewhere."""
    assert ranged([1, 2, 4], 0, 1, "s") == "2 s (1 to 4)"
    assert ranged([1.0, 1.0], 1) == "1.0"
    assert ranged([]) == "-"


def test_accuracy_counts_runs_and_those_that_never_found() -> None:
    """What cannot be had says why."""
    other = {**TOLD, "found_s": None, "f1": 0.85}
    (row,) = cells(accuracy([TOLD, other]))
    assert row[:7] == ["pte", "anon", "HotCold", "2", "1.000", "0.900", "0.900 (0.850 to 0.950)"]
    assert row[13] == "4 s, never in 1"
    (none,) = cells(accuracy([{"monitor": "page_idle", "kind": "anon", "missing": "no bitmap"}]))
    assert none[2:4] == ["no bitmap", "0"]
    silent = {"monitor": "pte", "kind": "anon", "case": "HotCold", "missing": "nothing was told"}
    (part,) = cells(accuracy([TOLD, silent]))
    assert part[3] == "1 of 2"
    (nothing,) = cells(accuracy([silent]))
    assert nothing[2] == "HotCold: nothing was told"


def test_cost_takes_latencies_from_runs_of_their_own() -> None:
    """And speeds from the others."""
    timed = {**COST, "latency": True, "speed": [0.1], "mmap_on_ms": [7.0]}
    (row,) = cells(cost([COST, timed]))
    assert row[:5] == ["1 GiB 4K", "1", "pte", "2", "1.00 % (0.50 to 1.50)"]
    assert row[8:] == ["0.95 (0.90 to 1.00)", "1.0 ms", "7.0 ms"]
    (refused,) = cells(cost([{"kind": "4K", "gib": 16.0, "processes": 1, "missing": "too long"}]))
    assert refused[4] == "too long"


def test_savings_are_told_at_some_times() -> None:
    """As of the last look before."""
    line = [[0.0, 0.0], [9.5, 20.0], [10.5, 24.0], [41.0, 96.0]]
    assert (saved_at(line, 10), saved_at(line, 60), saved_at(line, -1)) == (20.0, 96.0, 0.0)
    run = {"kernel/auto": {"saved_mib": line, "hot_swapped_mib": 0.0, "speed": 0.98}}
    (row,) = cells(savings({"7.3": [run]}))
    assert row[:5] == ["7.3", "kernel/auto", "1", "20 MiB", "24 MiB"]


def test_harm_is_told_with_and_without_the_gate() -> None:
    """Sent out in all, and by the second."""
    run = {"how": "without", "claimed_mib": 64.0, "seconds": 20.0, "major_faults": 7, "speed": 0.5}
    (row,) = cells(harm([{**run, "out_mib": 40.0}, {**run, "out_mib": 60.0}]))
    assert row[:4] == ["without", "64 MiB", "2", "50.0 MiB (40.0 to 60.0)"]
    assert row[4:] == ["2.50 MiB (2.00 to 3.00)", "7", "0.50"]


def test_storms_are_told_by_probe() -> None:
    """Before, during and after it."""
    calm, storm = (
        {"seconds": s, "agent_percent": a, "monitor_percent": 1.0}
        for s, a in ((20.0, 0.1), (5.0, 4.0))
    )
    run = {"probe": "vma", "processes": 1000, "calm": calm, "storm": storm, "after": calm}
    (row,) = cells(storms([run, run]))
    assert row[:7] == ["vma", "1000", "2", "5 s", "0.10 %", "4.00 %", "0.10 %"]


@pytest.mark.parametrize("count", [1, 7, 10, 100])
def test_a_share_of_memory_is_a_layout_of_whole_pages(count: int) -> None:
    """However many processes share it."""
    check(Setup("anon", 2 << 30, count).layout())
