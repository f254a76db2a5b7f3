"""pageout on a cgroup whose memory has no addresses: in small steps, ended by a brake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from damos_agent.algo.actor import Applied, Ration
from damos_agent.algo.region import Region
from damos_agent.algo.verdict import PageFacts, accepts_page
from damos_agent.host.filesystem import Filesystem
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.policy import Action, Mode, Policy
from damos_agent.userspace.brake import Brake
from damos_agent.userspace.group import Group
from damos_agent.userspace.group_view import Row, Slot
from damos_agent.userspace.memcg import CgroupAges, Kind
from damos_agent.userspace.reclaim import STEP_BYTES, CgroupReclaimer

_NOTHING = Applied(applied=0, took_ns=0, touched=False)
_NOT_NOW = Applied(applied=0, took_ns=0, touched=False, tried=0)
_REJECTED = Applied(applied=0, took_ns=0, passed=0, touched=False, tried=0)
_ANON_FIRST, _FILE_ONLY = 200, 0
PROTECTED: Final = "what is left is protected by memory.min or memory.low"
FUTILE: Final = "nothing could be taken: is there swap space left, or is all of it locked?"


@dataclass(frozen=True, slots=True)
class Clocks:
    """Nanoseconds of the wall and of this thread's CPU, and how to wait for seconds."""

    wall_ns: Callable[[], int]
    cpu_ns: Callable[[], int]
    sleep: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What one scheme may take: idle for how long, and of which kinds."""

    min_idle_us: int
    kinds: frozenset[Kind]


class Way(Protocol):
    """How memory is taken."""

    def take(self, slot: Slot, wish: Wish, size: int) -> tuple[int, bool]:
        """Take about `size` bytes; how many went, and whether more can be had.

        The call lasts until it is done: hand it a few MiB.
        """
        ...


@dataclass(frozen=True, slots=True)
class Eviction:
    """By the multi-gen LRU: what is surely idle, and nothing else."""

    ages: CgroupAges

    def take(self, slot: Slot, wish: Wish, size: int) -> tuple[int, bool]:
        """See `Way`."""
        if slot.kind is None:
            return 0, False
        idle_us, numa = wish.min_idle_us, slot.numa
        taken = self.ages.evict(slot.path, slot.kind, size, idle_us, numa=numa)
        return taken, taken > 0


@dataclass(frozen=True, slots=True)
class BlindReclaim:
    """By memory.reclaim: the kernel chooses, and whether it chose well only the brake tells."""

    fs: Filesystem
    group: Group
    clocks: Clocks

    def take(self, slot: Slot, wish: Wish, size: int) -> tuple[int, bool]:  # noqa: ARG002 - it has no choice
        """See `Way`."""
        swappiness = None
        if len(wish.kinds) < len(Kind):
            swappiness = _FILE_ONLY if Kind.FILE in wish.kinds else _ANON_FIRST
        reclaimer = CgroupReclaimer(
            self.fs,
            self.group.directory,
            self.clocks.wall_ns,
            self.clocks.sleep,
            swappiness,
            insists=swappiness is not None,
        )
        done = reclaimer.reclaim(size, 1 << 62)
        # Where it falls short the rest is in use: asked on, it would take that.
        return done.applied, done.applied > 0 and not done.stopped


def wish_of(policy: Policy, index: int, spec: SchemeSpec) -> Wish:
    """By the policy's own age, which is finer than the spec's count, and by the filters."""
    kinds = {
        kind
        for kind in Kind
        if accepts_page(spec.ops_filters, PageFacts(anon=kind is Kind.ANONYMOUS))
    }
    return Wish(policy.schemes[index].pattern.age_min_us, frozenset(kinds))


class GroupActor:
    """An `Actor` whose regions are places in a row of slots (`group_view`).

    `took_ns`: time of all actions of the round; `cpu_ns`: CPU time of this thread that went into
    actions since it was set to 0. Of the latest round: `futile`, it took nothing although there was
    something; `protected`, it ended at memory.min or memory.low.
    """

    def __init__(
        self, policy: Policy, specs: Sequence[SchemeSpec], group: Group, way: Way, clocks: Clocks
    ) -> None:
        self.took_ns = 0
        self.cpu_ns = 0
        self.brake = Brake()
        self._acts = policy.mode is Mode.ENFORCE
        self._actions = [spec.action for spec in specs]
        self._filtered = [bool(spec.ops_filters) for spec in specs]
        self._wishes = [wish_of(policy, index, spec) for index, spec in enumerate(specs)]
        self._group = group
        self._way = way
        self._clocks = clocks
        self._row = Row()
        self._deadline_ns = 0
        self._now_us = 0
        self._spare = 1
        self._room: int | None = None
        self._tried = self._taken = 0
        self._open = False

    @property
    def taken(self) -> int:
        """Bytes, in the latest round."""
        return self._taken

    @property
    def futile(self) -> bool:
        """See the class."""
        return self._tried > 0 and not self._taken

    @property
    def protected(self) -> bool:
        """See the class."""
        return self._spare <= 0

    def begin_round(
        self,
        budget_us: int,
        row: Row,
        now_us: int,
        *,
        page_out: bool = True,
        room: int | None = None,
    ) -> None:
        """Actions until the next call end after that time, pauses included, or after about `room`
        bytes; or none at all.
        """
        self.took_ns = 0
        self._tried = self._taken = 0
        self._room = room
        self._row = row
        self._now_us = now_us
        self._deadline_ns = self._clocks.wall_ns() + budget_us * 1_000
        if self._acts:
            self._spare = self._group.spare()
            self._open = self.brake.begin(self._group.refaulted(), now_us) and page_out

    def apply(
        self,
        scheme: int,
        process: Placement,  # noqa: ARG002 - it is about the cgroup
        region: Region,
        ration: Ration | None = None,
    ) -> Applied:
        """See `algo.actor.Actor`. Of a region that no longer is what it was, nothing is taken."""
        slot, wish = self._row.at(region.start), self._wishes[scheme]
        if self._filtered[scheme] and not self._passes(slot, wish):
            return _REJECTED
        if self._actions[scheme] == Action.STAT:
            return _NOTHING
        if self._over():
            return _NOT_NOW
        begun_ns = self._clocks.cpu_ns()
        done = self._take(slot, wish, region.size, ration.left_ns if ration else None)
        self.cpu_ns += self._clocks.cpu_ns() - begun_ns
        self.took_ns += done.took_ns
        return done

    def _passes(self, slot: Slot, wish: Wish) -> bool:
        return bool(wish.kinds) if slot.kind is None else slot.kind in wish.kinds

    def _over(self) -> bool:
        late = self._clocks.wall_ns() >= self._deadline_ns
        return late or self._left() <= 0 or not self._open

    def _left(self) -> int:
        return self._spare if self._room is None else min(self._spare, self._room - self._taken)

    def _take(self, slot: Slot, wish: Wish, size: int, time_ns: int | None) -> Applied:
        applied = tried = took_ns = 0
        left = self._left()
        while tried < size and not self._over():
            if applied >= left or (time_ns is not None and took_ns >= time_ns):
                break
            begun_ns = self._clocks.wall_ns()
            step = min(STEP_BYTES, size - tried, left - applied)
            taken, more = self._way.take(slot, wish, step)
            worked_ns = self._clocks.wall_ns() - begun_ns
            took_ns += worked_ns
            applied += taken
            # It may be more than was asked for, which then is charged.
            tried += max(step, taken)
            self._spare -= taken
            self.brake.took(taken)
            self._open = self.brake.look(self._group.refaulted(), self._now_us)
            if not more:
                # Without ages it is all one: the round is over.
                self._open &= slot.kind is not None
                break
            if worked_ns > 0:
                self._clocks.sleep(worked_ns / 1e9)
        self._tried += tried
        self._taken += applied
        passed = size if wish.kinds != frozenset(Kind) else None
        return Applied(applied, took_ns, passed, touched=False, tried=tried)
