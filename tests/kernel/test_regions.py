"""Every region of a running kdamond, from the simulated kernel."""

from __future__ import annotations

import pytest

from damos_agent.kernel.features import profile_of
from damos_agent.kernel.regions import _whose, read_regions
from damos_agent.model.errors import KernelError, UnsupportedError
from damos_agent.model.policy import Action, Mode, PidTarget, Policy, Scheme, Watermarks
from tests.agent.world import World

COUNTING = Scheme(Action.STAT)
MARKED = Scheme(Action.STAT, watermarks=Watermarks(1_000_000, 999, 998, 1))


def running(scheme: Scheme = COUNTING) -> World:
    world = World("7.3")
    world.go(Policy("p", PidTarget((world.spawn(),)), (scheme,), Mode.ENFORCE))
    world.advance(2)
    return world


def test_they_are_all_there_with_whose_they_are() -> None:
    world = running()
    record = world.reconciler.ledger.slots[0]
    found = read_regions(
        world.machine, "/sys", 0, 1, record.placements, profile_of("7.3"), lambda _s: None
    )
    assert len(found.regions) == len(world.damon.regions(0)) > 3
    assert {one.pid for one in found.regions} == {record.placements[0].pid}
    assert (found.sample_us, found.aggr_us, found.samples) == (5_000, 100_000, 20)
    assert all(one.start < one.end for one in found.regions)
    # Nothing is left behind.
    tried = "/sys/kernel/mm/damon/admin/kdamonds/0/contexts/0/schemes/1/tried_regions"
    assert [name for name in world.machine.listdir(tried) if name.isdigit()] == []


def test_kernels_and_policies_that_cannot_tell_say_so() -> None:
    world = running()
    arguments = (world.machine, "/sys", 0, 1, ())
    with pytest.raises(UnsupportedError, match="a look at regions"):
        read_regions(*arguments, profile_of("6.1"), lambda _s: None)
    marked = running(MARKED)
    with pytest.raises(UnsupportedError, match="no census"):
        read_regions(marked.machine, "/sys", 0, 1, (), profile_of("7.3"), lambda _s: None)


def test_a_kdamond_that_is_taken_away_is_an_error_like_any_other() -> None:
    world = running()
    with pytest.raises(KernelError):
        read_regions(world.machine, "/sys", 77, 1, (), profile_of("7.3"), lambda _s: None)


def test_where_addresses_go_down_the_next_process_begins() -> None:
    rows = [(0, 10, 1, 2), (10, 20, 0, 3), (5, 9, 4, 0), (9, 30, 0, 1), (1, 2, 0, 0)]
    found = _whose(rows, [7, 8], 100)
    assert [one.pid for one in found] == [7, 7, 8, 8, 8]
    assert found[1].age_us == 300
    assert {one.pid for one in _whose(rows, [], 100)} == {0}
