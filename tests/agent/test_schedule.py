"""Deadlines by name, and how long the loop may sleep."""

from __future__ import annotations

import os
import selectors

from damos_agent.agent.schedule import Schedule

_DAY_US = 86_400_000_000


def test_the_wait_is_until_the_earliest_deadline() -> None:
    schedule = Schedule({"resync": 9_000_000, "follow": 4_000_000})

    assert schedule.wait_s(1_000_000) == 3.0
    assert schedule.wait_s(5_000_000) == 0.0
    assert Schedule().wait_s(0) is None


def test_a_deadline_months_away_is_waited_for_in_pieces_that_epoll_takes() -> None:
    schedule = Schedule({"resync": 60 * _DAY_US})
    reader, writer = os.pipe()
    os.write(writer, b"x")

    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        ready = selector.select(schedule.wait_s(0))

    os.close(reader)
    os.close(writer)
    assert len(ready) == 1
    assert schedule.take(_DAY_US) == []
