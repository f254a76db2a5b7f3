"""A policy on a cgroup served without addresses: how old its memory is, and reclaim of the old.

By the multi-gen LRU's ages, which the agent brings about itself; where that cannot be had and the
policy insists, by memory.reclaim alone, which knows no ages.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from damos_agent.algo.overlay import pages_out
from damos_agent.algo.turn import Round
from damos_agent.host.mglru import LruNode
from damos_agent.model.damon import Placement, SchemeStats
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.policy import Mode, Policy
from damos_agent.model.units import format_duration
from damos_agent.model.userspace import ContextReport, Snapshot, Work
from damos_agent.userspace.account import Account
from damos_agent.userspace.capable import check_group
from damos_agent.userspace.context import ACTION_BP, ROUND_US, Tools
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.governor import Governor, Wanted
from damos_agent.userspace.group import Group
from damos_agent.userspace.group_actor import (
    FUTILE,
    PROTECTED,
    BlindReclaim,
    Clocks,
    Eviction,
    GroupActor,
)
from damos_agent.userspace.group_view import (
    LONG_IDLE_US,
    UNIT,
    Row,
    Slot,
    histogram,
    slots_of,
)
from damos_agent.userspace.memcg import MEMCG, CgroupAges
from damos_agent.userspace.monitor_lock import MonitorLock
from damos_agent.userspace.refault import SLOW_START, Refaults, allowed_bp
from damos_agent.userspace.schemes import Schemes, shape
from damos_agent.userspace.settings import MAPPING_AGGR_US

_EVERYBODY: Final = Placement(0, 0)
_AGED_TWICE: Final = 2
"""Of four generations the oldest was surely idle for twice the time between two agings."""
_SLACK_US: Final = 100_000
_PROMPT_US: Final = 1_000


def asked_us(policy: Policy) -> int:
    """How often to look, at most."""
    return max(policy.monitoring.aggr_us, MAPPING_AGGR_US)


def spacing_us(policy: Policy) -> int:
    """From one aging to the next, so that the longest idle time a pattern asks for can be told."""
    longest = max((s.pattern.age_min_us for s in policy.schemes), default=0)
    apart = -(-longest // _AGED_TWICE)
    return max(asked_us(policy), apart + apart // 50 + _SLACK_US if longest else 0)


class GroupContext:
    """The interface of `Context`, for a cgroup as a whole.

    `ages` is None where the multi-gen LRU cannot be had, with `why` as the reason: then an
    enforcing policy is served by memory.reclaim. Otherwise `why` is why no better probe serves it,
    if one was meant to. Raises `UnsupportedError` for what it cannot do,
    `OwnershipError` when somebody else watches one of the processes: agings would blind them.
    """

    def __init__(self, work: Work, ages: CgroupAges | None, tools: Tools, why: str = "") -> None:
        self.policy = work.policy
        self.due_us = 0
        self.spacing_us = self.look_us = 0
        self.stretched, self.stretch_reason = 1.0, ""
        self._tools, self._ages, self._why = tools, ages, why
        self._clocks = Clocks(tools.effects.clock_ns, tools.cpu_ns, tools.effects.sleep)
        self._locks: dict[Placement, MonitorLock] = {}
        self._slots: tuple[Slot, ...] = ()
        self._tick = self._aged_us = self._paid_us = 0
        self._age_ns = self._look_ns = 0  # mean costs
        self._looked_us: int | None = None
        self._absent = ""
        self._swap = True
        self.refaults = Refaults()
        self._group = self._check(work.policy)
        self.schemes = Schemes(tools.fs, tools.roots, self.policy, UNIT)
        self._take_policy(work.policy)
        self.account = Account(self.policy.monitoring.userspace.cpu_bp)
        self._actor = self._make_actor(self.policy, self._group)
        self.retarget(work.processes)

    @property
    def provisional(self) -> bool:
        """Whether there is a better way, which did not work."""
        return bool(self._why)

    def turn(self, now_us: int, since_ns: int | None = None) -> None:
        """As `Context.turn`."""
        begun_ns = self._tools.cpu_ns() if since_ns is None else since_ns
        self._actor.cpu_ns = 0
        resting_us = self.schemes.rest_us(now_us)
        aging_ns = 0
        if not resting_us:
            aging_ns = self._work(now_us)
        spent_ns = self._tools.cpu_ns() - begun_ns - self._actor.cpu_ns
        # What aging takes is paid by aging less often; looks, which act, go on meanwhile.
        self._paid_us = now_us + self.account.spend(spent_ns, now_us)
        self.due_us = now_us + (resting_us or self._plan(spent_ns - aging_ns, now_us))

    def edit(self, policy: Policy) -> None:
        """As `Context.edit`."""
        group = self._check(policy)
        if policy.target == self.policy.target:
            group = self._group
        else:
            self.refaults.forget((_EVERYBODY,))
        actor = self._make_actor(policy, group)
        actor.brake = self._actor.brake
        was = allowed_bp(self.policy)
        if allowed_bp(policy) != was:
            self.refaults.allow()
        self._actor, self._group, self.policy, self._slots = actor, group, policy, ()
        self.account.budget_bp = policy.monitoring.userspace.cpu_bp
        self._take_policy(policy)

    def retarget(self, processes: Iterable[Placement]) -> None:
        """Be the only one who watches these. Raises as the constructor, then holding nothing."""
        wanted = frozenset(processes)
        for process in self._locks.keys() - wanted:
            self._locks.pop(process).close()
        try:
            for process in wanted - self._locks.keys():
                self._locks[process] = MonitorLock(self._tools.roots.run, process)
        except BaseException:
            self.close()
            raise

    def report(self, *, snapshot: bool = False) -> ContextReport:
        """As `Context.report`."""
        ages = histogram(self._slots) if self._ages else ()
        told = Snapshot(MEMCG.name, MEMCG.granularity, self.look_us, self.spacing_us, 1, (), ages)
        return ContextReport(
            policy=self.policy.name,
            probe=MEMCG.name,
            granularity=MEMCG.granularity,
            targets=len({slot.path for slot in self._slots}),
            sample_us=self.look_us,
            aggr_us=self.spacing_us,
            schemes=self._stats(),
            stretched=round(self.stretched, 2),
            stretch_reason=self.stretch_reason,
            cpu_bp=self.account.spent_bp,
            notes=self._notes(),
            ages=ages,
            snapshot=told if snapshot else None,
        )

    def close(self) -> None:
        """As `Context.close`."""
        while self._locks:
            with suppress(OSError):
                self._locks.popitem()[1].close()

    def _check(self, policy: Policy) -> Group:
        group = Group(self._tools.fs, self._tools.roots, check_group(policy))
        if self._ages is None:
            self._check_blind(policy, group)
        return group

    def _check_blind(self, policy: Policy, group: Group) -> None:
        """The kernel then chooses by itself: bounded by a quota, and only if asked to act."""
        quotas = [scheme.quota for scheme in policy.schemes]
        if policy.mode is not Mode.ENFORCE:
            what, hint = "ages cannot be told", "use another probe"
        elif not all(quota and quota.size for quota in quotas):
            what = "memory.reclaim alone cannot tell when to stop"
            hint = "give each scheme a quota with a size"
        elif not group.whole:
            what, hint = "memory.reclaim takes from the cgroups below, too", "descendants: true"
        elif not group.find() and not group.can_reclaim():
            what, hint = "this cgroup has no memory.reclaim", "it takes Linux 5.19"
        else:
            return
        raise UnsupportedError(f"{what}: {self._why}", hint=hint)

    def _make_actor(self, policy: Policy, group: Group) -> GroupActor:
        clocks = self._clocks
        way = Eviction(self._ages) if self._ages else BlindReclaim(self._tools.fs, group, clocks)
        return GroupActor(policy, shape(policy, UNIT), group, way, clocks)

    def _take_policy(self, policy: Policy) -> None:
        cpu = policy.monitoring.userspace
        self._governor = Governor(
            Wanted(asked_us(policy), asked_us(policy), 1, 1), cpu.cpu_bp, cpu.stall_us, ACTION_BP
        )
        self._plan_agings()

    def _work(self, now_us: int) -> int:
        """Look, and act; CPU time of aging."""
        self._absent = self._group.find()
        self._slots = ()
        if self._absent:
            return 0
        try:
            aging_ns = self._age(now_us)
            self._slots = self._look()
            self._apply(now_us)
        except (HostError, UnsupportedError):
            if self._group.is_there():
                raise
            aging_ns = 0  # it went meanwhile
        return aging_ns

    def _age(self, now_us: int) -> int:
        due_us = max(self._aged_us + self.spacing_us, self._paid_us) if self._aged_us else 0
        if self._ages is None or now_us + _PROMPT_US < due_us:
            return 0
        begun_ns = self._tools.cpu_ns()
        self._ages.age_nodes(self._nodes(self._ages))
        took_ns = self._tools.cpu_ns() - begun_ns
        self._age_ns = (3 * self._age_ns + took_ns) // 4 if self._age_ns else took_ns
        self._aged_us = now_us
        self._plan_agings()
        return took_ns

    def _look(self) -> tuple[Slot, ...]:
        if self._ages is None:
            size = self._group.current()
            return (
                (Slot(self._group.path or "", 0, None, size, LONG_IDLE_US, in_use=False),)
                if size
                else ()
            )
        self._swap = self._group.has_swap()
        return slots_of(self._nodes(self._ages), swap=self._swap)

    def _nodes(self, ages: CgroupAges) -> tuple[LruNode, ...]:
        path = self._group.path or ""
        return ages.read_tree(path) if self._group.whole else ages.read(path)

    def _apply(self, now_us: int) -> None:
        self._tick += self.schemes.ticks
        if not self._slots or not self.schemes.due(self._tick):
            return
        for state in self.schemes.states:
            # It tells a place in a row that is another one by now.
            state.quota = replace(state.quota, resume=None)
        budget_us = min(self._governor.round_budget_us(), ROUND_US)
        row = Row(self._slots)
        if pages_out(self.policy):
            self._look_at_refaults(now_us)
        room = self.refaults.room(now_us)
        may_go = not self.refaults.hold.why
        self._actor.begin_round(budget_us, row, now_us, page_out=may_go, room=room)
        round_ = Round(
            self._actor,
            now_us,
            self._tick,
            0,
            UNIT,
            unit=PAGE_BYTES,
            size_limit=0,
            scores=self.schemes.scores,
        )
        self.schemes.apply(round_, [(_EVERYBODY, row.regions())])
        self._governor.acted(self._actor.took_ns)
        self.refaults.took({_EVERYBODY: self._actor.taken})

    def _look_at_refaults(self, now_us: int) -> None:
        """The cgroup's own count: of what came back, whoever had it evicted, and no file reads."""
        if not self.refaults.due(now_us):
            return
        pages = self._group.refaulted() // PAGE_BYTES
        share_bp = allowed_bp(self.policy)
        self.refaults.look({_EVERYBODY: pages}, self._group.current(), share_bp, now_us)

    def _plan(self, look_ns: int, now_us: int) -> int:
        """Until the next look."""
        past_us = now_us - self._looked_us if self._looked_us is not None else 0
        self._looked_us = now_us
        self._governor.tick(0, past_us * 1_000)
        self._look_ns = (3 * self._look_ns + look_ns) // 4 if self._look_ns else look_ns
        planned = self._governor.plan_round(self.look_us, self._look_ns // 1_000, 0)
        self.stretch_reason = planned.reason or self.stretch_reason
        return planned.interval_us

    def _plan_agings(self) -> None:
        asked = asked_us(self.policy)
        wanted = spacing_us(self.policy) if self._ages else asked
        planned = self._governor.plan_round(wanted, self._age_ns // 1_000, 0)
        self.stretch_reason = planned.reason
        self.spacing_us, self.stretched = planned.interval_us, planned.interval_us / wanted
        self.look_us = self.spacing_us // max(self.spacing_us // asked, 1)
        self.schemes.ticks = max(self.look_us // UNIT.sample_us, 1)
        self.schemes.renew(self.policy, UNIT)

    def _stats(self) -> tuple[SchemeStats, ...]:
        stats = self.schemes.stats()
        # Blindly nobody knows how much would match.
        return stats if self._ages else tuple(replace(one, tried_bytes=None) for one in stats)

    def _notes(self) -> tuple[str, ...]:
        actor = self._actor
        found = [
            self._absent,
            actor.brake.held,
            self.refaults.hold.why if pages_out(self.policy) else "",
            SLOW_START if self.refaults.is_slow else "",
            FUTILE if actor.futile else "",
            PROTECTED if actor.protected else "",
        ]
        if self._ages is None:
            found.append(
                f"ages cannot be told ({self._why}): memory.reclaim takes what the kernel "
                "chooses, whatever the pattern says"
            )
        elif self._why:
            found.append(f"it is served as a whole: {self._why}")
        if self._ages and self._slots and not self._swap:
            found.append("no swap space is left: anonymous memory is neither aged nor taken")
        if self._ages and self.spacing_us >= _AGED_TWICE * asked_us(self.policy):
            found.append(
                "ages are told up to twice the time between two agings: once in "
                f"{format_duration(self.spacing_us // 1_000_000 * 1_000_000)}"
            )
        return tuple(filter(None, found))
