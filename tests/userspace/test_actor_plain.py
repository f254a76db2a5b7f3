"""Actions on real processes that take no swap space."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.host.touchable import read_touchable
from damos_agent.userspace.effect import PagemapReader
from tests.userspace.machine import (
    LONG_US,
    Child,
    actor_of,
    mib,
    region,
    residency,
    rounds,
    start_child,
    swaps,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acting on other processes takes root")


@pytest.fixture
def _hugetlb() -> Iterator[None]:
    """Lets this machine hand out some pages of hugetlbfs, which go back when unmapped."""
    knob = Path("/proc/sys/vm/nr_overcommit_hugepages")
    if not knob.exists():
        pytest.skip("this kernel has no hugetlbfs")
    before = knob.read_text()
    knob.write_text("16")
    yield
    knob.write_text(before)


def is_left_out(child: Child, size: int) -> bool:
    touchable = read_touchable(RealFilesystem(), Roots(), child.placement.pid)
    end = child.start + size
    return bool(touchable) and all(r.end <= child.start or end <= r.start for r in touchable)


def test_locked_memory_is_left_out() -> None:
    """It is no range to act on, nor a refusal."""
    with start_child(mib(8), flags="lock") as child:
        assert is_left_out(child, mib(8))
        actor = actor_of()
        assert rounds(actor, child, region(child, 0, mib(8))) == [0]
        assert actor._gate.book.stats.no_effect == 0
        actor.close()


@pytest.mark.usefixtures("_hugetlb")
def test_hugetlb_memory_is_left_out() -> None:
    """Neither reclaim nor advice can do anything to it."""
    try:
        child = start_child(mib(8), flags="tlb")
    except RuntimeError:
        pytest.skip("no pages of hugetlbfs to be had here")
    with child:
        assert is_left_out(child, mib(8))


def test_without_swap_it_says_so() -> None:
    """One try, then back-off, with the reason."""
    if swaps():
        pytest.skip("this machine has swap space")
    with start_child(mib(16)) as child:
        actor = actor_of()
        assert rounds(actor, child, region(child, 0, mib(16)), 3) == [0]
        stats = actor._gate.book.stats
        assert (stats.no_effect, stats.last_reason) == (1, "no swap space")
        assert residency(child, 0, mib(16)).present == mib(16)
        actor.close()


def test_an_old_reader_sees_exec() -> None:
    """The open pagemap stays with the memory it was opened on, also without stat's help."""
    with start_child(mib(4)) as child:
        reader = PagemapReader(child.placement.pid)
        assert reader.count(child.start, child.start + mib(4)).present == mib(4)
        assert child.ask("exec") == "new"
        with pytest.raises(ProcessLookupError):
            reader.count(child.start, child.start + mib(4))
        reader.close()


def test_cold_willneed_collapse_and_moving_work() -> None:
    """Each on a real process; collapse is seen in pagemap."""
    with start_child(mib(8), flags="late") as child:
        actor = actor_of("cold", "willneed", "collapse", "migrate_hot")
        applied, huge = [], []
        for scheme in range(4):
            actor.begin_round(LONG_US)
            where = region(child, 0, mib(8))
            huge.append(residency(child, 0, mib(8)).huge)  # khugepaged may have been there
            applied.append(actor.apply(scheme, child.placement, where).applied)
        assert applied[0] == mib(8)
        assert applied[1] == 0  # nothing was out
        assert applied[3] == 0  # all was there already
        assert applied[2] == huge[3] - huge[2]
        if not applied[2]:
            pytest.skip("no huge pages to be had here, or they were there before")
        actor.close()
