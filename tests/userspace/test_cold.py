"""Which ranges are refused, on memory of a child."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.userspace.pte import cold
from tests.userspace.children import Child, running

PAGE = 4096


@pytest.fixture
def child() -> Iterator[Child]:
    with running("m, start, at = area(1 << 20); touch(m, start, 1 << 20); say(at)") as found:
        yield found


@pytest.fixture
def pidfd(child: Child) -> Iterator[int]:
    found = os.pidfd_open(child.pid)
    try:
        cold.check_allowed(found)
        yield found
    except (HostError, UnsupportedError) as error:
        pytest.skip(f"this machine does not allow it: {error}")
    finally:
        os.close(found)


@pytest.mark.parametrize("bad", [{0}, {3}, {199}, {0, 1, 2}, {63, 64, 65}, set(range(200)), set()])
def test_bad_ranges_are_told_and_the_others_done(child: Child, pidfd: int, bad: set[int]) -> None:
    (at,) = child.hear()
    ranges = [(PAGE if n in bad else at + n * PAGE, PAGE) for n in range(200)]
    assert cold.clear(pidfd, ranges) == bad


def test_nothing_to_do_is_done(pidfd: int) -> None:
    assert cold.clear(pidfd, []) == set()


def test_an_ended_process_is_told(child: Child, pidfd: int) -> None:
    (at,) = child.hear()
    child.process.kill()
    child.process.wait()
    with pytest.raises(ProcessLookupError):
        cold.clear(pidfd, [(at, PAGE)])
