"""The processes a policy watches: opened, locked, given back, and tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from damos_agent.algo.backoff import Backoff
from damos_agent.algo.region import Region
from damos_agent.algo.target import place
from damos_agent.model.damon import Placement
from damos_agent.model.errors import DamosError
from damos_agent.userspace.monitor_lock import MonitorLock
from damos_agent.userspace.probe import MappingSampler, PageSampler

Sampler = PageSampler | MappingSampler

NEVER: Final = 1 << 62
"""A time that does not come."""
_SOON_US: Final = 200_000


@dataclass(slots=True)
class Target:
    """A process that is watched. `checks`: how often it has been looked at; `armed`: whether the
    next look tells anything; `seen`: whether a whole window has been, so that idle means idle.

    `kept`: what the last look saw was not cleared, to see whether somebody else clears it;
    `doubted`: somebody did when that was last tried.
    """

    process: Placement
    sampler: Sampler
    lock: MonitorLock
    regions: list[Region] = field(default_factory=list)
    checks: int = 0
    armed: bool = False
    seen: bool = False
    kept: bool = False
    doubted: bool = False

    def close(self) -> None:
        """Give everything back."""
        self.sampler.close()
        self.lock.close()


class Watched:
    """`placed` are the wanted ones at their index, as filters count targets: one that ends leaves
    a placeholder, so that the others keep theirs. `left_out`: who is not watched, and why.
    `next_us`: when `open_missing` has something to do. `run`: our run directory; `most`: so many
    are watched at most.
    """

    def __init__(self, run: str, opener: Callable[[Placement], Sampler], most: int) -> None:
        self.most = most
        self.targets: dict[Placement, Target] = {}
        self.placed: tuple[Placement, ...] = ()
        self.left_out: dict[Placement, str] = {}
        self.next_us = NEVER
        self._run = run
        self._opener = opener
        self._wanted: tuple[Placement, ...] = ()
        self._backoffs: dict[Placement, Backoff] = {}

    @property
    def all_left_out(self) -> bool:
        """Whether there are processes, and none of them can be watched."""
        return bool(self._wanted) and len(self.left_out) == len(self._wanted)

    def want(self, processes: Iterable[Placement]) -> bool:
        """Watch exactly these, later; whether that is any news. What is known of others is lost."""
        wanted = tuple(processes)
        if wanted == self._wanted:
            return False
        self._wanted = wanted
        self.placed = place(self.placed, wanted)
        staying = frozenset(wanted)
        for process in self.targets.keys() - staying:
            self.targets.pop(process).close()
        self.left_out = {p: why for p, why in self.left_out.items() if p in staying}
        self._backoffs = {p: wait for p, wait in self._backoffs.items() if p in staying}
        self.next_us = 0
        return True

    def open_missing(self, now_us: int, enough: Callable[[], bool]) -> list[Placement]:
        """Open whom we do not watch yet, or watched until it called exec; who that is.

        `enough` tells when to leave the rest for later.
        """
        opened = []
        self.next_us = NEVER
        for process in self._wanted:
            if process in self.targets:
                continue
            if len(self.targets) >= self.most:
                self.left_out[process] = (
                    f"only the {self.most} oldest processes are watched, by monitoring.max_regions"
                )
                continue
            due_us = self._backoffs.get(process, Backoff()).until_us
            if now_us >= due_us and enough():
                due_us = now_us + _SOON_US
            elif now_us >= due_us:
                if self._open(process):
                    opened.append(process)
                    continue
                due_us = self._fail(process, now_us)
            self.next_us = min(self.next_us, due_us)
        return opened

    def drop(self, process: Placement) -> None:
        """It has gone, or its memory has: then it is opened anew."""
        self.targets.pop(process).close()
        self.next_us = 0

    def refuse(self, process: Placement, reason: str, now_us: int) -> None:
        """Watch it no longer for a while, and say why, if that is worth a word."""
        self.drop(process)
        if reason:
            self.left_out[process] = reason
        self._fail(process, now_us)

    def close(self) -> None:
        """Give everything back."""
        while self.targets:
            _, target = self.targets.popitem()
            with suppress(OSError):
                target.close()

    def _open(self, process: Placement) -> bool:
        try:
            lock = MonitorLock(self._run, process)
        except DamosError as error:
            self.left_out[process] = str(error)
            return False
        try:
            self.targets[process] = Target(process, self._opener(process), lock)
        except ProcessLookupError:
            lock.close()
            self.left_out.pop(process, None)
            return False
        except (DamosError, OSError) as error:
            lock.close()
            self.left_out[process] = str(error)
            return False
        self.left_out.pop(process, None)
        return True

    def _fail(self, process: Placement, now_us: int) -> int:
        """When to try again: each failure doubles the time, however often it was opened between."""
        backoff = self._backoffs.get(process, Backoff()).failed(now_us)
        self._backoffs[process] = backoff
        return backoff.until_us
