"""memory.reclaim in small steps, on a cgroup that is not there."""

from __future__ import annotations

import errno
import os

import pytest

from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.userspace.reclaim import STEP_BYTES, CgroupReclaimer

MIB = 1 << 20


class Cgroup:
    """Gives up `cold` bytes; a byte takes a nanosecond."""

    def __init__(self, cold: int, *, swappiness: bool = True, refuses: int = 0) -> None:
        self.cold, self.swappiness, self.refuses = cold, swappiness, refuses
        self.current, self.now_ns, self.asked = 512 * MIB, 0, 0
        self.writes: list[str] = []

    def read(self, path: str) -> str:
        return str(self.current)

    def write(self, path: str, text: str) -> None:
        assert path == "/cg/memory.reclaim"
        size, *options = text.split()
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        if options and not self.swappiness:
            raise OSError(errno.EINVAL, "Invalid argument")
        self.writes.append(text)
        self.asked += int(size)
        self.now_ns += int(size)
        taken = min(int(size), self.cold)
        self.cold -= taken
        self.current -= taken
        if taken < int(size):
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def exists(self, path: str) -> bool:
        return path == "/cg/cgroup.procs"

    def listdir(self, path: str) -> list[str]:
        raise AssertionError

    def readlink(self, path: str) -> str:
        raise AssertionError

    def reclaimer(self, swappiness: int | None = None) -> CgroupReclaimer:
        return CgroupReclaimer(self, "/cg", lambda: self.now_ns, self.sleep, swappiness)


def test_never_more_than_asked_nor_in_larger_steps() -> None:
    """10 MiB are 4, 4 and 2."""
    cgroup = Cgroup(cold=100 * MIB)
    found = cgroup.reclaimer().reclaim(10 * MIB, 1 << 60)
    assert [int(text) for text in cgroup.writes] == [STEP_BYTES, STEP_BYTES, 2 * MIB]
    assert (found.asked, found.applied, found.stopped) == (10 * MIB, 10 * MIB, "")
    assert cgroup.now_ns == 10 * MIB + 8 * MIB  # pauses as long as the steps before them
    assert found.took_ns == 10 * MIB


def test_it_ends_where_memory_is_no_longer_cold() -> None:
    """At the first EAGAIN: asking on would evict what is hot."""
    cgroup = Cgroup(cold=6 * MIB)
    found = cgroup.reclaimer().reclaim(100 * MIB, 1 << 60)
    assert (found.asked, found.applied) == (8 * MIB, 6 * MIB)
    assert found.stopped == "no more to reclaim"


def test_a_deadline() -> None:
    """Steps end when it has passed."""
    found = Cgroup(cold=100 * MIB).reclaimer().reclaim(100 * MIB, 9 * MIB)
    assert (found.asked, found.stopped) == (8 * MIB, "deadline")


def test_swappiness_only_where_the_kernel_takes_it() -> None:
    """Tried once, then left out."""
    new, old = Cgroup(cold=100 * MIB), Cgroup(cold=100 * MIB, swappiness=False)
    assert new.reclaimer(200).reclaim(MIB, 1 << 60).applied == MIB
    assert new.writes == [f"{MIB} swappiness=200"]
    assert old.reclaimer(200).reclaim(MIB, 1 << 60).applied == MIB
    assert old.writes == [f"{MIB}"]


def test_refusals_are_explained() -> None:
    """A kernel without the file, a process without the right."""
    with pytest.raises(UnsupportedError, match=r"5\.19"):
        Cgroup(0, refuses=errno.ENOENT).reclaimer().reclaim(MIB, 1 << 60)
    with pytest.raises(HostError, match="run as root"):
        Cgroup(0, refuses=errno.EACCES).reclaimer().reclaim(MIB, 1 << 60)
