# SPDX-License-Identifier: Apache-2.0
"""Lines of progress, and what is computed from them."""

import pytest

from tests.load.progress import Progress, parse, rounds_at, speed

LINES = [Progress(10.0, 0, 0, 1.0), Progress(11.0, 4, 400, 1.5, 3, 9.0), Progress(13.0, 8, 800, 2)]


def test_speed_is_by_the_wall_and_by_the_cpu() -> None:
    """From the first to the last line."""
    found = speed(LINES)
    assert found.accesses_per_s == pytest.approx(800 / 3)
    assert found.rounds_per_s == pytest.approx(8 / 3)
    assert (found.accesses_per_cpu_s, found.mmap_worst_us) == (800, 9.0)


@pytest.mark.parametrize(("at_s", "rounds"), [(9, 0), (10.5, 2), (11, 4), (12, 6), (99, 8)])
def test_rounds_between_lines_lie_on_the_straight_line(at_s: float, rounds: float) -> None:
    """Before the first and after the last, nothing is known."""
    assert rounds_at(LINES, at_s) == rounds


def test_a_line_under_way_is_left_out() -> None:
    """The worker may be writing it."""
    whole = '{"at_s": 1, "rounds": 1, "accesses": 2, "cpu_s": 0.1}\n'
    assert parse(whole + '{"at_s": 2, "rou') == [Progress(1, 1, 2, 0.1)]
