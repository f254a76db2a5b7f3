"""Reclaim ends when what it took comes back."""

from __future__ import annotations

from damos_agent.userspace.brake import Brake

MIB = 1 << 20
SECOND = 1_000_000


def test_a_tenth_may_come_back() -> None:
    brake = Brake()
    assert brake.begin(100 * MIB, 0)
    brake.took(10 * MIB)
    assert brake.look(101 * MIB, 0)
    assert not brake.look(101 * MIB + 4096, 0)


def test_what_comes_back_between_rounds_counts() -> None:
    brake = Brake()
    brake.begin(0, 0)
    brake.took(10 * MIB)
    assert brake.look(0, 0)
    assert not brake.begin(5 * MIB, SECOND // 2)
    assert "5120 KiB were needed again" in brake.held


def test_waits_double_until_a_round_was_harmless() -> None:
    brake, now_us, waits = Brake(), 0, []
    for _ in range(3):
        assert brake.begin(0, now_us)
        brake.took(MIB)
        assert not brake.look(MIB, now_us)
        assert not brake.begin(MIB, brake.backoff.until_us - 1)
        waits.append(brake.backoff.until_us - now_us)
        now_us = brake.backoff.until_us
        # What others' memory does meanwhile is not held against it.
        brake.begin(0, now_us - 1)
    assert waits == [SECOND, 2 * SECOND, 4 * SECOND]
    assert brake.begin(0, now_us)
    brake.took(MIB)
    assert brake.begin(0, now_us + SECOND)
    assert (brake.backoff.failures, brake.held) == (0, "")


def test_refaults_without_reclaim_of_ours_are_not_our_business() -> None:
    brake = Brake()
    assert brake.begin(0, 0)
    assert brake.look(50 * MIB, 0)
    assert brake.begin(90 * MIB, SECOND)
