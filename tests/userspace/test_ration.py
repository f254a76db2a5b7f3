"""Page-out under quotas, on a process that is not there: canaries are a small part of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from damos_agent.algo.actor import Applied, Ration
from damos_agent.algo.damos import Round, SchemeState, apply_schemes
from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.units import U32_MAX, ULONG_MAX
from damos_agent.userspace.canary_state import CanaryLimits, CanaryStats
from damos_agent.userspace.effect import HUGE_BYTES, PAGE_BYTES
from tests.userspace.acting import MIB, PROCESS, FakeWorld, fake_actor, fake_world

START = 64 * MIB
SECOND_US = 1_000_000


@dataclass
class Machine:
    """Cold memory under a page-out scheme that is applied each second; `went` bytes in each."""

    quota_bytes: int = 0
    quota_ms: int = 0
    size: int = 64 * MIB
    regions: int = 1
    huge: bool = False
    world: FakeWorld = field(init=False)
    state: SchemeState = field(init=False)
    went: list[int] = field(default_factory=list)
    busy_ns: int = 0

    def __post_init__(self) -> None:
        self.world = fake_world(START, self.size)
        if self.huge:
            self.world.huge = set(range(START, START + self.size, HUGE_BYTES))
        self.actor = fake_actor(self.world, limits=CanaryLimits(wait_us=SECOND_US))
        spec = SchemeSpec(
            "pageout",
            0,
            ULONG_MAX,
            0,
            0,
            0,
            U32_MAX,
            quota_bytes=self.quota_bytes,
            quota_ms=self.quota_ms,
            reset_interval_ms=1_000,
        )
        self.state = SchemeState(spec)
        step = self.size // self.regions
        starts = range(START, START + self.size, step)
        # Of different ages, so that they are not joined at once.
        self.rows = [Region(at, at + step, age=9 + at // step % 2) for at in starts]

    def run(self, seconds: int) -> None:
        world = self.world
        for _ in range(seconds):
            begin_ns, before = world.now_ns, world.paged_out
            self.actor.begin_round(SECOND_US // 2)
            now_us = world.now_ns // 1_000
            tick = 20 * len(self.went)
            intervals = Intervals(50_000, SECOND_US)
            round_ = Round(self, now_us, tick, left_bp=0, intervals=intervals, unit=4096)
            (self.rows,) = apply_schemes(round_, [(PROCESS, self.rows)], [self.state])
            for row in self.rows:
                row.age += 1
            self.went.append(world.paged_out - before)
            world.now_ns = max(world.now_ns, begin_ns + SECOND_US * 1_000)

    def apply(
        self, scheme: int, process: Placement, region: Region, ration: Ration | None = None
    ) -> Applied:
        done = self.actor.apply(scheme, process, region, ration)
        self.busy_ns += done.took_ns
        return done

    @property
    def stats(self) -> CanaryStats:
        return self.actor._gate.book.stats

    @property
    def canary_share(self) -> float:
        return self.stats.sent * PAGE_BYTES / sum(self.went)


@pytest.mark.parametrize("quota", [32 << 10, 128 << 10, 1 << 20])
def test_a_small_quota_is_not_used_up_by_canaries(quota: int) -> None:
    """The trial stands for more than one window lets go, and is not repeated for each."""
    machine = Machine(quota)
    machine.run(60)
    assert machine.canary_share < 0.03
    assert sum(machine.went) >= 0.9 * 58 * quota  # two go by until the first verdict
    assert max(machine.went) <= quota + machine.stats.sent * PAGE_BYTES


@pytest.mark.parametrize("regions", [16, 128])
def test_nor_is_it_with_many_regions(regions: int) -> None:
    """Of others nothing is tried while enough is waiting already."""
    machine = Machine(128 << 10, regions=regions)
    machine.run(60)
    # Eight pages are the least that is tried of any.
    least = 8 * PAGE_BYTES / (machine.size // regions)
    assert machine.canary_share < least + 0.02
    assert sum(machine.went) >= 0.9 * 58 * (128 << 10)


def test_over_time_no_more_goes_than_the_quota_says() -> None:
    """Canaries are charged; a huge one, more than a window allows, to the next windows."""
    machine = Machine(256 << 10, huge=True)
    machine.run(60)
    assert machine.went[:8] == [HUGE_BYTES, *[0] * 7]
    total = 0
    for second, went in enumerate(machine.went, 1):
        total += went
        assert total <= HUGE_BYTES + second * (256 << 10)
    assert total >= 0.95 * 60 * (256 << 10)
    assert machine.stats.sent * PAGE_BYTES == HUGE_BYTES


def test_few_huge_canaries_stand_for_much() -> None:
    """Whole huge pages go, and one of them for a hundred others."""
    machine = Machine(16 << 20, huge=True, size=256 * MIB)
    machine.run(20)
    assert sum(machine.went) == 256 * MIB
    assert machine.canary_share < 0.02
    assert max(machine.went) <= 16 << 20


@pytest.mark.parametrize("quota_ms", [1, 10])
@pytest.mark.parametrize("regions", [1, 64])
def test_a_time_quota_is_used(quota_ms: int, regions: int) -> None:
    """Throughput is that of all that goes, not of canaries, which take far longer."""
    machine = Machine(quota_ms=quota_ms, size=256 * MIB, regions=regions)
    machine.world.call_ns = 200_000
    machine.run(10)
    used_ms = machine.busy_ns / 1e6
    assert 0.75 * 8 * quota_ms <= used_ms
    assert used_ms <= 10 * quota_ms + 3  # a call more


def test_everything_goes_in_the_end_and_is_tried_once() -> None:
    """However it was cut."""
    machine = Machine(1 << 20, size=16 * MIB, regions=4)
    machine.run(24)
    assert not machine.world.present
    assert sum(machine.went) == machine.state.sz_applied == machine.state.sz_tried == 16 * MIB


def test_what_waits_is_not_cut_to_pieces() -> None:
    """A verdict is waited for by the region, not by each slice that the quota would let go."""
    machine = Machine(128 << 10)
    machine.run(1)
    assert [(row.start, row.end) for row in machine.rows] == [(START, START + 64 * MIB)]


def test_hot_memory_that_looked_cold_costs_its_canaries_and_no_quota() -> None:
    """What is spared leaves the quota to others."""
    machine = Machine(1 << 20, size=32 * MIB, regions=2)
    machine.world.hot = set(range(START, START + 16 * MIB, PAGE_BYTES))
    machine.run(24)
    assert machine.stats.cancelled_bytes > 0
    assert machine.stats.sent < 4 * 160  # and it was tried again, but not often
    assert machine.world.present == machine.world.hot


def test_evidence_lasts_as_long_as_the_canaries_stay_away() -> None:
    """Also where its turn comes late: nothing is tried twice."""
    machine = Machine(32 << 10, size=8 * MIB)
    machine.run(240)
    assert sum(machine.went) >= 0.95 * 238 * (32 << 10)
    assert machine.canary_share < 0.02


def test_the_rate_of_canaries_is_told_when_it_holds_something_up() -> None:
    """Many processes' worth of regions, none of them limited by the quota."""
    machine = Machine(1 << 40, regions=256)
    machine.run(1)
    assert machine.actor._gate.held_back
    machine.run(40)
    assert not machine.world.present
    machine.run(1)
    assert not machine.actor._gate.held_back


def test_nothing_is_asked_behind_the_end_of_the_address_space() -> None:
    """The stack ends there, in the middle of what could be a huge page."""
    machine = Machine(128 << 10, size=MIB)
    machine.world.top = START + MIB
    machine.run(12)
    assert not machine.world.present
