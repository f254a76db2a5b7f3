# SPDX-License-Identifier: Apache-2.0
"""Guests beside each other: as many as asked for, each with its own outcome, all ended at last."""

import threading
from collections.abc import Callable

import pytest

from tests.vm.pool import Pool


def test_as_many_run_at_once_as_it_has_grown_to() -> None:
    """Two meet at the barrier, which one alone would wait at for ever."""
    barrier = threading.Barrier(2)
    pool = Pool({name: lambda: barrier.wait(30) for name in "abcd"}, threading.Event())
    pool.grow(1)
    pool.grow(2)
    pool.grow(1)
    assert sorted(pool.result(name) for name in "abcd") == [0, 0, 1, 1]
    pool.stop()
    assert set(pool.seconds) == set("abcd")


def test_one_that_fails_tells_whoever_asks_and_nobody_else() -> None:
    def fail() -> int:
        raise ValueError("no guest")

    work: dict[str, Callable[[], int]] = {"bad": fail, "good": lambda: 1}
    pool = Pool(work, threading.Event())
    pool.grow(1)
    assert pool.result("good") == 1
    with pytest.raises(ValueError, match="no guest"):
        pool.result("bad")


def test_stop_ends_what_runs_and_begins_nothing_more() -> None:
    stopping, begun, ran = threading.Event(), threading.Event(), list[str]()

    def wait(name: str) -> None:
        ran.append(name)
        begun.set()
        assert stopping.wait(30)

    pool = Pool({"a": lambda: wait("a"), "b": lambda: wait("b")}, stopping)
    pool.grow(1)
    assert begun.wait(30)
    pool.stop()
    assert ran == ["a"]
