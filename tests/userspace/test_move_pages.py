"""Moving pages between NUMA nodes: what the statuses mean, and the machine's own answer."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Sequence

import pytest

from damos_agent.host.move_pages import Moved, migrate, move_pages
from damos_agent.model.damon import DestSpec
from damos_agent.model.errors import DamosError, HostError, UnsupportedError
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.migration import by_node

PAGE = mmap.PAGESIZE


def test_statuses_are_counted_by_page() -> None:
    """There before, absent, shared, busy, and really moved."""
    asked: list[tuple[Sequence[int], int | None]] = []

    def call(pid: int, addresses: Sequence[int], node: int | None) -> list[int]:
        asked.append((addresses, node))
        if node is None:
            return [1, 0, 0, 0, -errno.ENOENT, -errno.EFAULT, 0]
        return [1, -errno.EACCES, -errno.EBUSY, 0]

    found = migrate(7, [0, 1, 2, 3, 4, 5, 6], 1, call)
    assert found == Moved(moved=1, there=1, absent=2, shared=1, busy=2)
    assert asked[1] == ([1, 2, 3, 6], 1)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENODEV, UnsupportedError, "no NUMA node 3"),
        (errno.EINVAL, UnsupportedError, "cannot be moved"),
        (errno.EACCES, UnsupportedError, "cpuset"),
        (errno.ENOSYS, UnsupportedError, "CONFIG_NUMA"),
        (errno.EPERM, HostError, "CAP_SYS_NICE"),
        (errno.ENOMEM, HostError, "cannot be moved"),
    ],
)
def test_refusals_in_words(number: int, kind: type[DamosError], words: str) -> None:
    """What is wrong and what to do."""

    def call(pid: int, addresses: Sequence[int], node: int | None) -> list[int]:
        raise OSError(number, "no")

    with pytest.raises(kind, match=words):
        migrate(7, [0], 3, call)


def test_spread_by_weight() -> None:
    """Three of four pages go to the heavier node, and always the same ones."""
    pages = dict(by_node(AddressRange(0, 16 * PAGE), [DestSpec(0, 3), DestSpec(2, 1)]))
    assert (len(pages[0]), len(pages[2])) == (12, 4)
    assert dict(by_node(AddressRange(0, 2 * PAGE), [DestSpec(1, 0)])) == {1: [0, PAGE]}


def address_of(memory: mmap.mmap) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def test_this_machine() -> None:
    """Our own pages lie on some node; a node that is not there is no place to go."""
    memory = mmap.mmap(-1, 4 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[0:1] = memory[PAGE : PAGE + 1] = b"x"
    start = address_of(memory)
    try:
        status = move_pages(os.getpid(), [start, start + PAGE, start + 3 * PAGE], None)
    except OSError as error:
        pytest.skip(f"move_pages: {error}")
    assert status[0] == status[1] >= 0
    assert status[2] < 0
    node = status[0]
    assert migrate(os.getpid(), [start, start + 3 * PAGE], node) == Moved(there=1, absent=1)
    with pytest.raises(UnsupportedError, match="no NUMA node 900"):
        migrate(os.getpid(), [start], 900)


def test_nobody() -> None:
    """A process that is not there."""
    with pytest.raises(ProcessLookupError):
        migrate(2**22 - 1, [PAGE], 0)
