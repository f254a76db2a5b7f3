"""Policies that meet in a process."""

from __future__ import annotations

from damos_agent.algo.overlap import find_shared, notes_of
from damos_agent.model.damon import Placement

ONE, TWO, THREE = (Placement(pid, 1) for pid in (1, 2, 3))


def test_processes_are_found_with_all_who_act_on_them() -> None:
    shared = find_shared({"b": (ONE, TWO), "a": (ONE, TWO, THREE), "c": (TWO,), "d": ()})
    assert shared == {("a", "b"): (ONE,), ("a", "b", "c"): (TWO,)}
    assert notes_of("a", shared) == (
        "policy b acts on 2 of the same processes too",
        "policy c acts on the same process too",
    )
    assert notes_of("d", shared) == ()


def test_a_pid_that_is_used_again_is_another_process() -> None:
    assert find_shared({"a": (ONE,), "b": (Placement(1, 2),)}) == {}
