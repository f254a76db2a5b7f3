"""How much waits behind the gate: counted once, remembered while nothing is looked at."""

from __future__ import annotations

from damos_agent.userspace.waiting import Waiting
from tests.userspace.acting import MIB, PROCESS

WINDOW = 1 << 20


def half(start: int) -> int:
    """Everything up to 64 MiB waits."""
    return max(64 * MIB - start, 0)


def test_slices_of_one_region_are_counted_once() -> None:
    """Each slice sees all that is behind it, too."""
    waiting = Waiting()
    asked: list[int] = []

    def count(start: int) -> int:
        asked.append(start)
        return half(start)

    for start in range(0, 32 * MIB, 4 * MIB):
        waiting.see(PROCESS, start, 64 * MIB, count)
    assert asked == [0]
    assert waiting.is_enough(4 * WINDOW)
    assert not waiting.is_enough(4 * WINDOW + 1)


def test_other_memory_and_other_processes_add_up() -> None:
    waiting = Waiting()
    waiting.see(PROCESS, 0, 4 * MIB, lambda _: 4 * MIB)
    waiting.see(PROCESS, 2 * MIB, 8 * MIB, lambda start: 8 * MIB - start)
    assert waiting.is_enough(MIB // 2)
    assert not waiting.is_enough(MIB // 2 + 1)
    waiting.add(8 * MIB)
    assert waiting.is_enough(MIB)


def test_a_round_that_looks_at_nothing_tells_nothing() -> None:
    """The quota was full: what waited does still."""
    waiting = Waiting()
    waiting.begin_round()
    waiting.see(PROCESS, 0, 16 * MIB, lambda _: 16 * MIB)
    for _ in range(3):
        waiting.begin_round()
        assert waiting.is_enough(MIB)
    waiting.see(PROCESS, 0, 16 * MIB, lambda _: 0)
    assert waiting.is_enough(MIB)  # some of it may not have been met yet
    waiting.begin_round()
    assert not waiting.is_enough(1)


def test_low_is_what_the_round_has_seen() -> None:
    waiting = Waiting()
    waiting.see(PROCESS, 0, 16 * MIB, lambda _: 2 * MIB)
    assert not waiting.is_low(MIB)
    waiting.begin_round()
    assert waiting.is_low(MIB)
