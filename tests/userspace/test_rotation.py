"""A round goes on where the one before it had to stop."""

from __future__ import annotations

from damos_agent.model.damon import Placement
from damos_agent.userspace.rotation import Rotation

A, B, C = Placement(1, 10), Placement(2, 10), Placement(3, 10)
MEMORY = [(A, 0), (A, 10), (B, 0), (B, 10), (C, 0)]


def turns(rotation: Rotation, most: int, memory: list[tuple[Placement, int]] = MEMORY) -> list[int]:
    """Which pieces of ten bytes, by their place in `MEMORY`, have a turn in one round."""
    had: list[int] = []
    rotation.begin_round()
    for process, start in memory:
        if rotation.is_skipped(process, start + 10):
            continue
        if len(had) == most:
            rotation.stop(process, start)
        else:
            had.append(MEMORY.index((process, start)))
    return had


def test_everything_has_its_turn() -> None:
    rotation = Rotation()
    assert [turns(rotation, 2) for _ in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


def test_without_a_stop_each_round_is_whole() -> None:
    rotation = Rotation()
    assert [turns(rotation, 5) for _ in range(2)] == [[0, 1, 2, 3, 4]] * 2


def test_a_place_that_has_gone_is_behind_the_next_process() -> None:
    rotation = Rotation()
    assert turns(rotation, 3) == [0, 1, 2]
    assert turns(rotation, 3, [(A, 0), (A, 10), (B, 0), (C, 0)]) == [4]


def test_a_process_that_has_gone_costs_a_round() -> None:
    rotation = Rotation()
    assert turns(rotation, 2) == [0, 1]
    without = [(A, 0), (A, 10), (C, 0)]
    assert turns(rotation, 2, without) == []
    assert turns(rotation, 2, without) == [0, 1]


def test_a_place_within_a_piece_is_gone_on_with_there() -> None:
    rotation = Rotation()
    assert turns(rotation, 3) == [0, 1, 2]
    rotation.begin_round()
    assert rotation.is_skipped(B, 10)
    assert not rotation.is_skipped(B, 15)
