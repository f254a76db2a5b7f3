# SPDX-License-Identifier: Apache-2.0
"""When what a monitor tells is judged, without any monitor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.bench import accuracy
from tests.bench.accuracy import Loads, observe
from tests.bench.judge import Moment, Seen
from tests.bench.test_judge import MOMENT
from tests.load.score import Region

LOADS: Loads = {"early": (), "late": ()}
LATE_S = 20.0
"""By then the second load is watched."""


class Clock:
    """Goes on by sleeping."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(accuracy, "time", found)
    monkeypatch.setattr(accuracy, "judge", judged)
    return found


def judged(at_s: float, _found: Seen, _loads: object) -> Moment:
    return replace(MOMENT, at_s=at_s)


def test_each_load_has_its_time_from_when_it_is_watched(clock: Clock) -> None:
    """A load that is watched late is judged as long as the others, and by its own age."""
    begin_s = clock.now_s

    def view() -> Iterator[tuple[str, Callable[[], Seen]]]:
        fresh = [Region(0, 1, clock.now_s)]
        yield "early", lambda: Seen({1: fresh}, 0.1, 2.0)
        if clock.now_s >= begin_s + LATE_S:
            yield "late", lambda: Seen({2: fresh}, 0.1, 2.0)

    moments = observe(view, LOADS, 10.0)
    for told in moments.values():
        assert told[0].at_s == 0.0
        assert told[-1].at_s >= 9.5


def test_the_same_snapshot_counts_once(clock: Clock) -> None:
    """However often it is asked for; and none at all gives no moment."""
    same, nothing = Seen({1: [Region(0, 1, 1.0)]}, 0.1, 2.0), Seen({}, 0.1, 2.0)
    view = [("early", lambda: same), ("late", lambda: nothing)]
    moments = observe(lambda: view, LOADS, 10.0)
    assert (len(moments["early"]), moments["late"]) == (1, [])


def test_waiting_for_the_first_look_counts(clock: Clock) -> None:
    """A load is watched from when the wait begins."""

    def slow() -> Seen:
        clock.sleep(2.0)
        return Seen({1: [Region(0, 1, clock.now_s)]}, 0.1, 2.0)

    assert observe(lambda: [("early", slow)], {"early": ()}, 10.0)["early"][0].at_s == 2.0


def test_what_is_never_watched_is_given_up(clock: Clock) -> None:
    """After a while."""
    assert observe(lambda: iter(()), LOADS, 10.0) == {"early": [], "late": []}
