"""A machine with known workloads: what DAMON would tell of it, and what would truly come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from damos_agent.algo.auto_age import Choice, choose
from damos_agent.algo.coldness import AGES_US, Coldness, History, estimate, observe
from damos_agent.algo.idleness import Look, Row
from damos_agent.algo.merge import merge_to_limit, size_limit
from damos_agent.algo.region import Region
from damos_agent.algo.sampling import roll
from damos_agent.algo.split import enforce_min, split

MIB = 1 << 20
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
PAGE = 4096


@dataclass(slots=True)
class Block:
    """Memory that is accessed, or not, as a whole; `touched` in which seconds."""

    start: int
    size: int
    touched: Callable[[int], bool]
    born: int = 0
    dies: int | None = None
    age: int = 0
    idle: int = 0
    hot: bool = False
    out: bool = False

    def lives(self, now: int) -> bool:
        return self.born <= now and (self.dies is None or now < self.dies)


def hot(_now: int) -> bool:
    return True


def cold(_now: int) -> bool:
    return False


def every(period: int, phase: int = 0, lasting: int = 1) -> Callable[[int], bool]:
    return lambda now: (now - phase) % period < lasting


def layout(*parts: tuple[int, Callable[[int], bool]]) -> list[Block]:
    """Blocks of so many MiB, one behind the other."""
    blocks, at = [], 1 << 30
    for size, touched in parts:
        blocks.append(Block(at, size * MIB, touched))
        at += size * MIB
    return blocks


@dataclass(slots=True)
class Machine:
    """Windows of a second. Ages as DAMON's: 0 when access begins or ends, and when acted on.

    `true_back`: bytes by age that would have been paged out at it, and were touched;
    `paged_back`: bytes that were acted on, and then touched.
    """

    blocks: list[Block]
    acting_us: int | None = None
    rng: Random = field(default_factory=lambda: Random(5))
    now: int = 0
    true_back: dict[int, int] = field(default_factory=lambda: dict.fromkeys(AGES_US, 0))
    paged_back: int = 0
    acted: int = 0

    def window(self) -> None:
        self.now += 1
        for block in self.blocks:
            if not block.lives(self.now):
                continue
            now_hot = block.touched(self.now)
            if now_hot:
                self._touch(block)
            block.age = block.age + 1 if now_hot == block.hot else 0
            block.idle = 0 if now_hot else block.idle + 1
            block.hot = now_hot
            acting = self.acting_us is not None and block.age * SECOND >= self.acting_us
            if acting and not now_hot:
                block.age, block.out = 0, True
                self.acted += block.size

    def _touch(self, block: Block) -> None:
        for age_us in AGES_US:
            if block.idle * SECOND >= age_us:
                self.true_back[age_us] += block.size
        self.paged_back += block.size * block.out
        block.out = False

    def look(self) -> Look:
        acted, self.acted = self.acted, 0
        living = (block for block in self.blocks if block.lives(self.now))
        rows = tuple(row for block in living for row in self._cut(block))
        return Look(self.now * SECOND, rows, self.acting_us, acted)

    def _cut(self, block: Block) -> Iterator[Row]:
        """At random, other pieces in each look."""
        inner = (self.rng.randrange(1, block.size // PAGE) * PAGE for _ in range(2))
        bounds = sorted({0, block.size, *inner})
        for start, end in pairwise(bounds):
            access_bp = 10_000 if block.hot else 0
            yield Row(0, block.start + start, block.start + end, access_bp, block.age * SECOND)


@dataclass(slots=True)
class Run:
    """What was chosen when, each change; and the last estimates."""

    history: History = field(default_factory=History)
    choice: Choice = field(default_factory=Choice)
    changes: list[tuple[int, int | None]] = field(default_factory=list)

    @property
    def estimates(self) -> tuple[Coldness, ...]:
        return estimate(self.history)

    def of(self, age_us: int) -> Coldness:
        return next(one for one in self.estimates if one.age_us == age_us)

    def go(self, machine: Machine, seconds: int, apart: int = 5, *, acting: bool = False) -> Run:
        """Look every so often; `acting`: what is chosen is done."""
        for second in range(1, seconds + 1):
            machine.window()
            if second % apart == 0:
                self.see(machine.look())
                if acting:
                    machine.acting_us = self.choice.age_us
        return self

    def watch(self, monitor: Monitor, seconds: int, apart: int = 5) -> Run:
        """The same through DAMON's eyes."""
        for second in range(1, seconds + 1):
            monitor.window()
            if second % apart == 0:
                self.see(monitor.look())
        return self

    def see(self, look: Look) -> None:
        self.history = observe(self.history, look)
        chosen = choose(self.choice, self.estimates, look.now_us)
        if chosen.age_us != self.choice.age_us:
            self.changes.append((look.now_us // SECOND, chosen.age_us))
        self.choice = chosen


def bytes_of(rows: Iterable[Row]) -> int:
    return sum(row.end - row.start for row in rows)


SAMPLES = 20


@dataclass(slots=True)
class Monitor:
    """DAMON as it is, over a machine: checks at random, regions that merge and split, and ages that
    are averages. Windows of a second.
    """

    machine: Machine
    min_regions: int
    rng: Random = field(default_factory=lambda: Random(1))
    regions: list[Region] = field(default_factory=list)
    count: int = 0

    def window(self) -> None:
        self.machine.window()
        blocks = self.machine.blocks
        start, end = blocks[0].start, blocks[-1].start + blocks[-1].size
        limit = size_limit(end - start, self.min_regions, PAGE)
        regions = self.regions or enforce_min([Region(start, end)], limit)
        if self.regions:
            roll(regions)
            self.count, before = len(regions), self.count
            (regions,) = split(
                [regions],
                max_nr=1_000,
                min_unit=PAGE,
                previous_count=before,
                rotation=self.machine.now,
                rng=self.rng,
            )
        for region in regions:
            region.nr_accesses = self._hits(region)
        most = max(region.nr_accesses for region in regions)
        (merged,) = merge_to_limit(
            [regions], max_nr=1_000, threshold=most // 10, samples=SAMPLES, size_limit=limit
        )
        self.regions = enforce_min(merged, limit)

    def _hits(self, region: Region) -> int:
        accessed = 0
        for block in self.machine.blocks:
            if block.hot and block.start < region.end and region.start < block.start + block.size:
                end = min(region.end, block.start + block.size)
                accessed += end - max(region.start, block.start)
        if accessed in (0, region.size):
            return SAMPLES * (accessed > 0)
        share = accessed / region.size
        return sum(self.rng.random() < share for _ in range(SAMPLES))

    def look(self) -> Look:
        rows = tuple(
            Row(0, r.start, r.end, r.nr_accesses * 10_000 // SAMPLES, r.age * SECOND)
            for r in self.regions
        )
        return Look(self.machine.now * SECOND, rows)
