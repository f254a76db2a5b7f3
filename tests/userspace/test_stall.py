"""What a walk is expected to cost, and what was learnt from the last ones."""

from __future__ import annotations

from damos_agent.userspace.stall import StallEstimate

GIB = 1 << 30


def test_by_size_small_pages_weigh_and_huge_ones_hardly() -> None:
    stall = StallEstimate()
    assert stall.predict_us(4 * GIB, 0) == 60_000
    assert stall.predict_us(0, 4 * GIB) == 600


def test_a_slow_machine_raises_the_estimate_and_a_fast_one_does_not_lower_it() -> None:
    stall = StallEstimate()
    stall.begin(90_000)
    stall.begin(95_000)
    assert stall.predict_us(GIB, 0) == 90_000
    stall.begin(5)
    stall.begin(5)
    assert stall.predict_us(GIB, 0) == 15_000


def test_the_worst_walk_of_a_round_counts_and_one_bad_round_does_not() -> None:
    stall = StallEstimate()
    stall.add(70_000)  # a reading before any round
    stall.begin(20_000)
    stall.add(40_000)
    stall.add(30_000)
    assert stall.predict_us(GIB, 0) == 40_000
    stall.begin(2_000_000)
    assert stall.predict_us(0, 0) == 40_000
    stall.begin(20_000)
    assert stall.predict_us(0, 0) == 20_000


def test_a_single_walk_is_believed_as_far_as_the_memory_explains_it() -> None:
    """The first one of a process may just have waited for a processor."""
    stall = StallEstimate()
    stall.begin(160_000)
    assert stall.predict_us(8 << 20, 0) == 117 * 4 + 2_000
    assert stall.predict_us(GIB, 0) == 62_000
    stall.begin(150_000)
    assert stall.predict_us(8 << 20, 0) == 150_000
