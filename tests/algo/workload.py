"""A machine with known workloads: what DAMON would tell of it, and what would truly come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from damos_agent.algo.auto_age import Choice, choose
from damos_agent.algo.coldness import AGES_US, Coldness, History, estimate, observe
from damos_agent.algo.idleness import Look, Row

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
            if second % apart:
                continue
            self.history = observe(self.history, machine.look())
            chosen = choose(self.choice, self.estimates, machine.now * SECOND)
            if chosen.age_us != self.choice.age_us:
                self.changes.append((machine.now, chosen.age_us))
            self.choice = chosen
            if acting:
                machine.acting_us = chosen.age_us
        return self


def bytes_of(rows: Iterable[Row]) -> int:
    return sum(row.end - row.start for row in rows)
