"""What a probe found idle in a cgroup, held against the ages that the kernel knows anyway.

It only reads: an aging would clear the marks that the probe looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from damos_agent.algo.region import Region
from damos_agent.algo.sampling import moving_nr, moving_unknown
from damos_agent.algo.target import GroupTarget
from damos_agent.algo.turn import Targets, Turn
from damos_agent.host.mglru import LruNode
from damos_agent.model.damon import Placement
from damos_agent.model.errors import DamosError
from damos_agent.model.policy import AddressRange
from damos_agent.model.userspace import AgesCheck
from damos_agent.userspace.group import Group
from damos_agent.userspace.memcg import CgroupAges, Kind, Verdict, check, room_of

APART_US: Final = 30_000_000
"""From one look to the next, at least: counting what is in memory takes 7 ms a GiB."""
LOOK_NS: Final = 20_000_000
"""CPU time of counting. What was counted by then is claimed, which is less than could be."""
CONTRADICTED: Final = (
    "the multi-gen LRU has seen use of memory that was found idle: page-out waits while it does"
)
_WORST_FIRST: Final = (Verdict.CONTRADICTS, Verdict.CANNOT_TELL, Verdict.AGREES)

Counter = Callable[[Placement, Sequence[AddressRange]], int]
"""Bytes of these ranges that are in memory, anonymous, and of this process alone."""


@dataclass(frozen=True, slots=True)
class Claim:
    """So many bytes were found idle, for `idle_us` or longer."""

    idle_bytes: int
    idle_us: int


def idle_ranges(turn: Turn, regions: Iterable[Region]) -> tuple[AddressRange, ...]:
    """What the scheme is about and no check at all has found in use."""
    left = turn.round.left_bp
    return tuple(
        AddressRange(one.start, one.end)
        for one in regions
        if turn.matches(one) and not moving_nr(one, left) and not moving_unknown(one, left)
    )


def claim_of(turn: Turn, idle_us: int, targets: Targets, counter: Counter) -> Claim | None:
    """What a scheme would take as idle for that long; None if there is nothing."""
    found = [(process, idle_ranges(turn, regions)) for process, regions in targets]
    if not any(ranges for _, ranges in found):
        return None
    return Claim(sum(counter(process, ranges) for process, ranges in found if ranges), idle_us)


class SecondOpinion:
    """`told` is the latest verdict; None while there is nothing to ask about."""

    def __init__(self, group: Group, ages: CgroupAges) -> None:
        self.told: AgesCheck | None = None
        self._group = group
        self._ages = ages
        self._looked_us: int | None = None

    @property
    def target(self) -> GroupTarget:
        """The cgroup it is about."""
        return self._group.target

    @property
    def contradicts(self) -> bool:
        """Whether nothing is to be paged out."""
        return self.told is not None and self.told.verdict == Verdict.CONTRADICTS

    def due(self, now_us: int) -> bool:
        """Whether it is time to ask again."""
        return self._looked_us is None or now_us - self._looked_us >= APART_US

    def ask(self, claims: Sequence[Claim], now_us: int) -> None:
        """Hold these against the ages as they are now; without any, what was told is past."""
        if not claims:
            self.told = None
            return
        self._looked_us = now_us
        try:
            told = self._compare(claims)
        except (DamosError, OSError) as error:
            told = _cannot_tell(claims[0], str(error))
        self.told = told

    def _compare(self, claims: Sequence[Claim]) -> AgesCheck:
        if absent := self._group.find():
            return _cannot_tell(claims[0], absent)
        path = self._group.path or ""
        nodes = self._ages.read_tree(path) if self._group.whole else self._ages.read(path)
        swap = self._group.has_swap()
        told = [judge(claim, nodes, swap=swap) for claim in claims]
        return min(told, key=lambda one: _WORST_FIRST.index(Verdict(one.verdict)))


def judge(claim: Claim, nodes: Sequence[LruNode], *, swap: bool) -> AgesCheck:
    """The verdict on one claim, with what it rests on."""
    known = [node.generations for node in nodes]
    verdict = check(claim.idle_bytes, known, claim.idle_us, Kind.ANONYMOUS, swap=swap)
    room = sum(room_of(one, claim.idle_us, Kind.ANONYMOUS) for one in known)
    why = "" if verdict is not Verdict.CANNOT_TELL else _why(swap=swap)
    return AgesCheck(verdict.value, claim.idle_bytes, claim.idle_us, room, why)


def _why(*, swap: bool) -> str:
    if not swap:
        return "without swap the kernel does not look at anonymous memory"
    return "the kernel has not looked twice in that time, or the memory is charged elsewhere"


def _cannot_tell(claim: Claim, why: str) -> AgesCheck:
    return AgesCheck(Verdict.CANNOT_TELL.value, claim.idle_bytes, claim.idle_us, 0, why)
