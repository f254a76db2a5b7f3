"""Signals of harm: from counters to shares of what is allowed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.guard import Signal
from damos_agent.algo.signals import FLOOR_PAGES, Look, Reading, budget_pages, find_signals, keep
from damos_agent.model.policy import Limits

S = 1_000_000
GIB = 1 << 30
LIMITS = Limits()
NOW = Look(100 * S, refaults=0, resident=4 * GIB)


def level(name: str, limits: Limits, *looks: Look, readings: tuple[Reading, ...] = ()) -> object:
    """Of that signal; "absent" when there is none."""
    found = {one.name: one.level_bp for one in find_signals(limits, looks, readings)}
    return found.get(name, "absent")


def signal(name: str, *looks: Look) -> Signal:
    (one,) = [one for one in find_signals(LIMITS, looks) if one.name == name]
    return one


def test_the_budget_is_a_share_of_what_is_resident_and_never_next_to_nothing() -> None:
    assert budget_pages(LIMITS, 4 * GIB) == 2097  # 0.2 % of a million pages
    assert budget_pages(LIMITS, 1 << 20) == FLOOR_PAGES
    assert budget_pages(Limits(refaults_bp=None), GIB) is None


def test_refaults_count_from_the_first_moment() -> None:
    then, now = NOW, replace(NOW, at_us=100 * S + S // 2, refaults=2097)
    assert level("refaults", LIMITS, then, now) == 10_000
    assert (
        "2097 pages were needed again within 1 s, of 2097 allowed"
        in signal("refaults", then, now).text
    )


def test_refaults_of_more_than_a_minute_ago_are_forgotten() -> None:
    looks = [replace(NOW, at_us=at * S, refaults=count) for at, count in ((0, 0), (1, 9_000))]
    later = replace(NOW, at_us=62 * S, refaults=9_000)
    assert level("refaults", LIMITS, *looks, later) == 0


def test_looks_further_apart_than_a_minute_allow_for_more() -> None:
    later = replace(NOW, at_us=220 * S, refaults=2 * 2097)
    assert level("refaults", LIMITS, NOW, later) == 10_000


def test_a_count_that_cannot_be_read_is_unknown_and_one_that_starts_anew_is_none() -> None:
    assert level("refaults", LIMITS, NOW, replace(NOW, at_us=101 * S, refaults=None)) is None
    fresh = replace(NOW, at_us=101 * S, refaults=0)
    assert level("refaults", LIMITS, replace(NOW, refaults=10_000), fresh) == 0


def test_pressure_is_a_share_of_ten_seconds() -> None:
    base = replace(NOW, memory_psi_us=0, io_psi_us=0)
    late = replace(base, at_us=110 * S, memory_psi_us=S // 2, io_psi_us=3 * S)
    assert level("memory_psi", LIMITS, base, late) == 10_000  # 5 % of 5 %
    assert level("io_psi", LIMITS, base, late) == 10_000
    # What was before that does not thin it out.
    old = replace(base, at_us=40 * S)
    assert level("memory_psi", LIMITS, old, base, late) == 10_000


def test_a_moment_is_too_short_for_a_share() -> None:
    base = replace(NOW, memory_psi_us=0)
    soon = replace(base, at_us=101 * S, memory_psi_us=S)
    assert level("memory_psi", LIMITS, base, soon) == "absent"


def test_without_psi_the_others_must_do() -> None:
    assert level("memory_psi", LIMITS, NOW, replace(NOW, at_us=110 * S)) == "absent"


def test_swap_is_full_enough_when_a_tenth_is_left() -> None:
    assert level("swap_free", LIMITS, replace(NOW, swap_total=GIB, swap_free=GIB // 10)) == 10_010
    assert level("swap_free", LIMITS, replace(NOW, swap_total=GIB, swap_free=GIB)) == 1_000
    assert level("swap_free", LIMITS, NOW) == "absent"  # there is none
    # Full swap stops page-out, it is no reason to hold off for an hour.
    assert level("swap_free", LIMITS, replace(NOW, swap_total=GIB)) == 20_000


def test_cpu_is_a_share_of_one_core() -> None:
    then, now = replace(NOW, cpu_us=S), replace(NOW, at_us=110 * S, cpu_us=2 * S)
    assert level("cpu", LIMITS, then, now) == 5_000
    assert level("cpu", replace(LIMITS, cpu_bp=None), then, now) == "absent"


def test_numbers_from_outside() -> None:
    slow, lost = Reading("p99", 300, 200), Reading("p50", None, 10)
    assert level("p99", LIMITS, NOW, readings=(slow, lost)) == 15_000
    assert level("p50", LIMITS, NOW, readings=(slow, lost)) is None


def test_every_limit_can_be_taken_away() -> None:
    none = Limits(None, None, None, None, None)
    then = replace(NOW, memory_psi_us=0, io_psi_us=0, cpu_us=0, swap_total=GIB)
    now = replace(then, at_us=110 * S, refaults=10**6, memory_psi_us=9 * S, io_psi_us=9 * S)
    assert find_signals(none, (then, replace(now, cpu_us=9 * S))) == ()
    assert len(find_signals(LIMITS, (then, replace(now, cpu_us=9 * S)))) == 5


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_what_is_kept_is_all_that_is_needed(gaps: list[int]) -> None:
    """The signals of the kept looks are those of all of them."""
    everything: list[Look] = []
    kept: tuple[Look, ...] = ()
    at = 0
    for number, gap in enumerate(gaps):
        at += gap * S
        count = number * number
        look = replace(
            NOW, at_us=at, refaults=count, memory_psi_us=count * 1_000, cpu_us=count * 3_000
        )
        everything.append(look)
        kept = keep(kept, look)
        assert find_signals(LIMITS, kept) == find_signals(LIMITS, everything)
    assert len(kept) <= 62
