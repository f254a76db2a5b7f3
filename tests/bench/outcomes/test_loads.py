# SPDX-License-Identifier: Apache-2.0
"""What loads touch, the law of senpai, and what is read of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.outcomes import meter, protocol, redis_load, senpai
from tests.bench.outcomes.__main__ import wanted
from tests.bench.outcomes.catalogue import NONE, SEED_VARIANTS, VARIANTS, WORKLOADS
from tests.bench.outcomes.patterns import PATTERNS, Pattern, window
from tests.bench.outcomes.variants import Place, shipped, start
from tests.vm.guestlib import GUEST_VARIABLE

SECONDS = 300.0


def touched(pattern: Pattern, first_s: float, last_s: float) -> set[tuple[str, int]]:
    """Every MiB that is touched between two times."""
    steps = range(int(first_s / pattern.step_s), int(last_s / pattern.step_s))
    pieces = [p for n in steps for p in pattern.touched(n * pattern.step_s, SECONDS)]
    return {(piece.area, at) for piece in pieces for at in range(piece.start, piece.end)}


def cold(pattern: Pattern) -> set[tuple[str, int]]:
    return {(piece.area, at) for piece in pattern.cold for at in range(piece.start, piece.end)}


def everything(pattern: Pattern) -> set[tuple[str, int]]:
    return {(area, at) for area, size in pattern.areas.items() for at in range(size)}


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_cold_memory_is_never_touched_again(name: str) -> None:
    """From half time on; and nothing outside an area is ever touched."""
    pattern = PATTERNS[name]
    assert not cold(pattern) & touched(pattern, SECONDS / 2, SECONDS)
    assert touched(pattern, 0, SECONDS) <= everything(pattern)


@pytest.mark.parametrize("name", ["hotcold", "growth", "shift", "roomy"])
def test_all_but_the_cold_is_in_use_at_the_end(name: str) -> None:
    """So the truly cold is all there is to gain, and it exists."""
    pattern = PATTERNS[name]
    late = touched(pattern, SECONDS - 30, SECONDS)
    assert late | cold(pattern) == everything(pattern)
    assert cold(pattern)


@pytest.mark.parametrize(("name", "lap_s"), [("cyclic", 30), ("streaming", 100), ("tight", 30)])
def test_where_nothing_is_cold_all_of_it_comes_round(name: str, lap_s: int) -> None:
    """Within one lap, at any time."""
    pattern = PATTERNS[name]
    assert touched(pattern, 100, 100 + lap_s) == everything(pattern)


def test_the_working_set_shifts_at_half_time() -> None:
    """What comes next has not been touched before."""
    areas = {area for area, _ in touched(PATTERNS["shift"], 0, SECONDS / 2)}
    assert areas == {"common", "first"}


def test_a_scan_stays_inside() -> None:
    """Also in its last step."""
    assert window(0.0, 100.0, 320, 2) == (0, 2)
    assert window(99.99, 100.0, 320, 2) == (319, 320)


def test_phases_are_tenths_of_all_steps() -> None:
    """No step is lost where they do not divide."""
    found = protocol.phases([1.0] * 25)
    assert len(found) == protocol.PHASES
    assert sum(found) == pytest.approx(25)


def test_senpai_takes_less_the_more_pressure_there_is() -> None:
    """All of its ratio at none, nothing from the threshold on."""
    shares = [senpai.share(pressure) for pressure in (0.0, 0.0005, 0.001, 0.5)]
    assert shares == pytest.approx([0.0005, 0.00025, 0.0, 0.0])


def test_pressure_is_the_total_of_some() -> None:
    """Not of full, not an average."""
    text = "some avg10=1.00 avg60=0.00 avg300=0.00 total=17\nfull avg10=0.00 total=5\n"
    assert senpai.parse_total_us(text) == 17
    with pytest.raises(ValueError, match="not a pressure file"):
        senpai.parse_total_us("")


def test_what_is_read_of_the_kernel() -> None:
    """Each from a file as it is."""
    assert meter.parse_counters("pswpin 3\nworkingset_refault_anon 7\nother 9\n") == {
        "pswpin": 3,
        "workingset_refault_anon": 7,
    }
    assert meter.parse_zram_mib("  10 20  3145728 0 4096 0 0 0 0\n") == 3
    assert meter.parse_pss_mib("1-2 ---p\nRss: 9 kB\nPss:   2048 kB\nPss_Anon: 1 kB\n") == 2
    assert meter.parse_run_s("2500000000 5 6\n") == pytest.approx(2.5)


def test_time_used_counts_those_who_came_later() -> None:
    """All of theirs is new."""
    assert meter.used_s({1: 2.0}, {1: 2.5, 7: 1.0}) == pytest.approx(1.5)


def test_only_whole_pages_are_looked_at() -> None:
    """What shares a page with something else is not all its own."""
    assert meter.inner(4096, 12288) == (4096, 12288)
    assert meter.inner(4097, 12287) == (8192, 8192)
    assert meter.inner(10, 20) == (4096, 4096)


def test_redis_asks_for_a_fifth_of_its_keys_and_the_first_ones_most() -> None:
    """Skewed, and never outside of those."""
    asked = [redis_load.skewed(n / 1000) for n in range(1000)]
    assert max(asked) < redis_load.ASKED < redis_load.KEYS
    assert sum(one < redis_load.ASKED / 8 for one in asked) == 500
    assert redis_load.command(b"GET", b"ab") == b"*2\r\n$3\r\nGET\r\n$2\r\nab\r\n"


def test_the_shipped_policy_gets_target_and_mode_and_nothing_else() -> None:
    """What it says of schemes is what is measured."""
    text = "metadata: {name: x}\nspec: {mode: observe, target: {pid: 1}, schemes: [1, 2]}\n"
    words = shipped(text)
    assert "mode: enforce" in words
    assert "path: /bench" in words
    assert "- 1\n  - 2" in words


def test_nothing_is_reclaimed_outside_a_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is DAMON asked anything there."""
    monkeypatch.delenv(GUEST_VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match="lab guest only"):
        start("DAMON_RECLAIM", Place((), (), tmp_path, "damo"))
    with pytest.raises(RuntimeError, match="lab guest only"):
        meter.scheme_bytes()


def test_cells_come_run_by_run_with_the_baseline_first() -> None:
    """Whoever is interrupted has whole tables of fewer runs."""
    found = list(wanted(2, None, None))
    assert len(found) == 2 * (len(WORKLOADS) * len(VARIANTS) + len(SEED_VARIANTS))
    assert found[0] == (WORKLOADS[0].name, NONE, 0)
    assert [run for _, _, run in found] == sorted(run for _, _, run in found)
    assert list(wanted(1, ["redis"], ["ours"])) == [("redis", "ours", 0)]
