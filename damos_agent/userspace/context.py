"""One policy monitored and acted for: what page and mapping contexts have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from damos_agent.algo.aim import in_order
from damos_agent.algo.lower import Intervals
from damos_agent.algo.overlay import pages_out
from damos_agent.algo.region import Region
from damos_agent.algo.turn import Round, Targets, Turn
from damos_agent.host.capability import CAP_SYS_ADMIN, CAP_SYS_NICE, has_capability
from damos_agent.host.faults import read_faults
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.policy import Action, AddressRange, Mode, Monitoring, Policy
from damos_agent.model.userspace import (
    Canaries,
    ContextReport,
    Snapshot,
    SnapshotRegion,
    Work,
)
from damos_agent.userspace.account import Account
from damos_agent.userspace.actions import note
from damos_agent.userspace.actor import ProcessActor
from damos_agent.userspace.canary import CanaryGate
from damos_agent.userspace.canary_book import CanaryBook
from damos_agent.userspace.canary_state import CanaryLimits
from damos_agent.userspace.capable import check_pages, check_writes, group_target
from damos_agent.userspace.effect import PAGE_BYTES
from damos_agent.userspace.filtering import FilteringActor
from damos_agent.userspace.governor import Governor, Wanted
from damos_agent.userspace.group import Group
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.memcg import CgroupAges
from damos_agent.userspace.probe import Granularity, ProbeInfo
from damos_agent.userspace.refault import SLOW_START, Canaried, Refaults, allowed_bp
from damos_agent.userspace.schemes import Schemes, shape
from damos_agent.userspace.second_opinion import (
    CONTRADICTED,
    LOOK_NS,
    SecondOpinion,
    claim_of,
)
from damos_agent.userspace.settings import SEES_GUESTS
from damos_agent.userspace.untouchable import is_virtual_machine
from damos_agent.userspace.watched import Sampler, Target, Watched
from damos_agent.userspace.young import Young

ACTION_BP: Final = 5_000
"""Actions may take half a core at most, whatever the policy's quota allows."""
ROUND_US: Final = 500_000
"""A round of actions lasts no longer: meanwhile nothing else is looked at."""
_NO_FRAMES: Final = (
    "without CAP_SYS_ADMIN page frames are not shown: memory that cannot be paged out looks as if "
    "it came back at once, and is left alone"
)
_CUT_SHORT: Final = (
    "filter young is asked of as many pages as the time for it allows; the rest waits, and does "
    "not count as tried"
)
_ONLY_WRITES: Final = "only writes are seen: what counts as idle here may be read all the time"
_FEW_CANARIES: Final = (
    "no more than 500 pages a second are sent (a huge page is 512), and page-out waits for them"
)
_NOT_TUNED: Final = (
    "intervals_goal is not followed: this probe looks at whole mappings once per aggregation"
)
_OPENING_NS: Final = 5_000_000
"""CPU time after which opening processes is left for later."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What contexts use of the machine, shared by all of them.

    `cpu_ns`: this thread's time; `ages` of cgroups, to be read only, None where they cannot be.
    """

    fs: Filesystem
    roots: Roots
    effects: Effects
    rng: Random
    cpu_ns: Callable[[], int] = time.thread_time_ns
    ages: Callable[[], CgroupAges | None] = lambda: None


class Context(ABC):
    """`due_us`: when `turn` wants to be called, on the clock of the caller.

    `ticks`: of how many of the schemes' ticks a look at the memory consists. `per_target`: the
    regions a process takes at least. `odd_ns`: CPU time of the turn that tells nothing of the next.
    """

    ticks = 1
    per_target = 1

    def __init__(self, work: Work, info: ProbeInfo, intervals: Intervals, tools: Tools) -> None:
        self.policy = work.policy
        self.info = info
        self.intervals = intervals
        self.tools = tools
        self.stall_us = 0
        self.stretched = 1.0
        self.stretch_reason = ""
        self.notes: dict[str, None] = {}
        self.now_us = 0
        self.odd_ns = 0
        self._work_us = self._open_us = 0
        self._applied_us: int | None = None
        self._dropped = False
        self._blind = has_capability(tools.fs, tools.roots, CAP_SYS_ADMIN) is False
        self._last_window: tuple[Intervals, list[tuple[int, ...]]] = (intervals, [])
        self.watched = Watched(tools.roots.run, self._open, self._most_targets())
        self.governor = self._govern()
        self.account = Account(self.policy.monitoring.userspace.cpu_bp)
        self.schemes = Schemes(tools.fs, tools.roots, self.policy, intervals, self.ticks)
        # One for the life of the context: what was found hot stays spared over an edit.
        self.gate = CanaryGate(CanaryBook(CanaryLimits(wait_us=intervals.aggr_us)), tools.rng)
        self.refaults = Refaults()
        self.opinion = self._find_opinion(self.policy)
        self._actor = self._make_actor(self.policy)
        self.watched.want(work.processes)

    @property
    def due_us(self) -> int:
        """See the class."""
        return min(self._work_us, max(self.watched.next_us, self._open_us))

    @property
    def targets(self) -> dict[Placement, Target]:
        """Who is watched."""
        return self.watched.targets

    @abstractmethod
    def wanted(self) -> Wanted:
        """Intervals and regions the policy asks for, before the budget."""

    @abstractmethod
    def open(self, process: Placement) -> Sampler:
        """A sampler. Raises as the probes do."""

    @abstractmethod
    def work(self, now_us: int) -> None:
        """Look, judge, act."""

    @abstractmethod
    def plan(self, spent_ns: int, now_us: int, debt_us: int) -> int:
        """Work has taken that much CPU time: how long until the next, in µs.

        `debt_us`: in how long its budget will have caught up.
        """

    @abstractmethod
    def rest(self) -> None:
        """Nothing is looked at for a while: what was begun tells nothing any more."""

    @abstractmethod
    def follow_monitoring(self, old: Monitoring) -> None:
        """The policy's intervals may have changed."""

    def take_young(self, process: Placement, where: AddressRange) -> Iterable[Young]:
        """As `PageSampler`, for policies that `check_pages` lets pass; `()`: it is not watched.

        Schemes are applied when nothing is armed.
        """
        target = self.targets.get(process)
        return target.sampler.take_young(where) if target else ()  # type: ignore[union-attr]

    def turn(self, now_us: int, since_ns: int | None = None) -> None:
        """What is due now. `since_ns`: CPU time of this thread from which on it worked for us."""
        begun = self.tools.cpu_ns() if since_ns is None else since_ns
        self.now_us = now_us
        self._actor.cpu_ns = self.odd_ns = 0
        if now_us >= max(self.watched.next_us, self._open_us):
            self._open_missing()
        resting_us = self.schemes.rest_us(now_us)
        working = now_us >= self._work_us
        if working and resting_us:
            self.rest()
        elif working:
            self.work(now_us)
        self._follow_dropped()
        spent = self.tools.cpu_ns() - begun - self._actor.cpu_ns
        debt_us = self.account.spend(spent, now_us)
        self._open_us = now_us + debt_us  # a storm of processes is no reason to overspend
        if working:
            self._work_us = now_us + (resting_us or self.plan(spent - self.odd_ns, now_us, debt_us))

    def edit(self, policy: Policy) -> None:
        """The policy has changed: what was learned of its processes stays.

        Raises `UnsupportedError` before anything has changed.
        """
        actor, was = self._make_actor(policy), self._actor
        old, before, self.policy = self.policy.monitoring, allowed_bp(self.policy), policy
        if allowed_bp(policy) != before:
            self.refaults.allow()
        if policy.monitoring != old:
            self.watched.most = self._most_targets()
            self.account.budget_bp = policy.monitoring.userspace.cpu_bp
            self.governor = self._govern()
            self.follow_monitoring(old)
        self.schemes.renew(policy, self.intervals)
        if self.opinion is None or self.opinion.target != policy.target:
            self.opinion = self._find_opinion(policy)
        self.notes.clear()
        self._actor = actor
        was.inner.close()

    def set_intervals(self, new: Intervals) -> None:
        """They run from now on."""
        self.intervals = new
        self.schemes.renew(self.policy, new)
        self.gate.book.limits = CanaryLimits(wait_us=new.aggr_us)

    def retarget(self, processes: Iterable[Placement]) -> None:
        """Watch exactly these; what is known of those that stay is kept."""
        if self.watched.want(processes):
            self._actor.inner.follow(self.targets)

    def drop(self, process: Placement) -> None:
        """It has gone, or its memory has."""
        self.watched.drop(process)
        self.refaults.forget((process,))
        self._dropped = True

    def refuse(self, process: Placement, reason: str) -> None:
        """Watch it no longer, and say why."""
        self.watched.refuse(process, reason, self.now_us)
        self._dropped = True

    def apply(self, now_us: int, tick: int, left_bp: int, size_limit: int) -> None:
        """A round of the schemes that are due."""
        if not self.schemes.due(tick):
            return
        placed = in_order(self.policy.target, self.watched.placed)
        targets = [(process, self._evidence(process)) for process in placed]
        round_ = Round(
            self._actor,
            now_us,
            tick,
            left_bp,
            self.intervals,
            PAGE_BYTES,
            size_limit,
            self.schemes.scores,
        )
        may_go = self._may_page_out(round_, targets)
        budget_us = min(self.governor.round_budget_us(), ROUND_US)
        room = self.refaults.room(now_us)
        self._actor.begin_round(budget_us, self._asking_us(now_us), page_out=may_go, room=room)
        walked = self.schemes.apply(round_, targets)
        for (process, _), regions in zip(targets, walked, strict=True):
            if regions:
                self.targets[process].regions = regions
        self.governor.acted(self._actor.took_ns)
        self.refaults.took(self._actor.inner.paged_out)

    def keep_snapshot(self) -> None:
        """Remember what the window that is over has shown."""
        self._last_window = (
            self.intervals,
            [
                (target.process.pid, r.start, r.end, r.nr_accesses, r.age, r.unknown)
                for target in self.targets.values()
                if target.seen
                for r in target.regions
            ],
        )

    def snapshot(self) -> Snapshot:
        """What the last window has shown."""
        intervals, rows = self._last_window
        return Snapshot(
            self.info.name,
            self.info.granularity,
            intervals.sample_us,
            intervals.aggr_us,
            intervals.samples,
            tuple(
                SnapshotRegion(pid, start, end, nr, age * intervals.aggr_us, unknown)
                for pid, start, end, nr, age, unknown in rows
            ),
        )

    def report(self, *, snapshot: bool = False) -> ContextReport:
        """How it fares."""
        stats = self.gate.book.stats
        reasons = dict.fromkeys(self.watched.left_out.values())
        return ContextReport(
            policy=self.policy.name,
            refused="; ".join(reasons) if self.watched.all_left_out else "",
            probe=self.info.name,
            granularity=self.info.granularity,
            targets=len(self.targets),
            regions=sum(len(target.regions) for target in self.targets.values()),
            sample_us=self.intervals.sample_us,
            aggr_us=self.intervals.aggr_us,
            schemes=self.schemes.stats(),
            stretched=round(self.stretched, 2) if self.targets else 1.0,
            stretch_reason=self.stretch_reason if self.targets else "",
            cpu_bp=self.account.spent_bp if self.targets else 0,
            stall_us=self.stall_us,
            notes=self._notes(),
            canaries=Canaries(
                stats.sent * PAGE_BYTES,
                stats.came_back * PAGE_BYTES,
                stats.cancelled_bytes,
                stats.last_reason or (_FEW_CANARIES if self.gate.held_back else ""),
            ),
            ages_check=self.opinion.told if self.opinion else None,
            snapshot=self.snapshot() if snapshot else None,
        )

    def close(self) -> None:
        """Give everything back."""
        self.watched.close()
        self._actor.inner.close()

    def _open(self, process: Placement) -> Sampler:
        fs, roots = self.tools.fs, self.tools.roots
        if self.info.name not in SEES_GUESTS and is_virtual_machine(fs, roots, process.pid):
            raise UnsupportedError(
                f"process {process.pid} runs a virtual machine, whose accesses this probe is "
                "blind for",
                hint="monitor the guest from inside, or use a kernel with DAMON",
            )
        return self.open(process)

    def _open_missing(self) -> None:
        begun_ns = self.tools.cpu_ns()
        end_ns = begun_ns + _OPENING_NS
        opened = self.watched.open_missing(self.now_us, lambda: self.tools.cpu_ns() >= end_ns)
        if opened or self._dropped:
            # At once, not when they are acted on: whoever calls exec meanwhile is then found out.
            self._dropped = False
            self._actor.inner.follow(self.targets, opened)
        self.odd_ns += self.tools.cpu_ns() - begun_ns

    def _may_page_out(self, round_: Round, targets: Targets) -> bool:
        """Whether what page-outs cost, and what the kernel has seen, allow more of them."""
        self._ask_opinion(round_, targets)
        if not pages_out(self.policy):
            return False
        self._look_at_faults(round_.now_us)
        return not self._waits()

    def _waits(self) -> list[str]:
        """Why page-out waits."""
        contradicted = self.opinion is not None and self.opinion.contradicts
        return [why for why in (self.refaults.hold.why, CONTRADICTED * contradicted) if why]

    def _ask_opinion(self, round_: Round, targets: Targets) -> None:
        opinion = self.opinion
        if opinion is None or not opinion.due(round_.now_us):
            return
        begun_ns = self.tools.cpu_ns()
        end_ns = begun_ns + LOOK_NS

        def counter(process: Placement, ranges: Iterable[AddressRange]) -> int:
            enough = lambda: self.tools.cpu_ns() >= end_ns  # noqa: E731 - it is no more than that
            return self._actor.inner.own_bytes(process, ranges, enough)

        states = enumerate(self.schemes.states)
        claims = [
            claim_of(Turn(round_, index, state), scheme.pattern.age_min_us, targets, counter)
            for (index, state), scheme in zip(states, self.policy.schemes, strict=True)
            if scheme.action is Action.PAGEOUT
        ]
        opinion.ask([claim for claim in claims if claim is not None], round_.now_us)
        self.odd_ns += self.tools.cpu_ns() - begun_ns

    def _find_opinion(self, policy: Policy) -> SecondOpinion | None:
        """Of the multi-gen LRU, which knows cgroups only."""
        target = group_target(policy)
        ages = self.tools.ages() if target is not None else None
        if target is None or ages is None:
            return None
        return SecondOpinion(Group(self.tools.fs, self.tools.roots, target), ages)

    def _look_at_faults(self, now_us: int) -> None:
        if not self.refaults.due(now_us):
            return
        fs, roots = self.tools.fs, self.tools.roots
        found = {process: read_faults(fs, roots, process) for process in self.targets}
        told = {process: faults for process, faults in found.items() if faults is not None}
        counts = {process: faults.count for process, faults in told.items()}
        resident = sum(faults.resident_bytes for faults in told.values())
        share_bp = allowed_bp(self.policy)
        book = self.gate.book
        canaries = Canaried(book.stats.back_pages, book.in_flight(now_us))
        self.refaults.look(counts, resident, share_bp, now_us, canaries)

    def _follow_dropped(self) -> None:
        if self._dropped:
            self._dropped = False
            self._actor.inner.follow(self.targets)

    def _evidence(self, process: Placement) -> list[Region]:
        """The regions schemes may judge: whose memory was never looked at is not idle."""
        target = self.targets.get(process)
        return target.regions if target is not None and target.seen else []

    def _notes(self) -> tuple[str, ...]:
        left_out = dict.fromkeys(self.watched.left_out.values()) if self.targets else {}
        actions = (note(scheme.action) for scheme in self.policy.schemes)
        enforced = actions if self.policy.mode is Mode.ENFORCE else ()
        own = [_NO_FRAMES] if self._blind and self.policy.mode is Mode.ENFORCE else []
        own += [_CUT_SHORT] if self._actor.cut_short else []
        tunes = self.policy.monitoring.intervals_goal is not None
        own += [_NOT_TUNED] if tunes and self.info.granularity is Granularity.MAPPING else []
        own += [_ONLY_WRITES] if self.info.sees == "w" else []
        own += self._waits() if pages_out(self.policy) else []
        own += [SLOW_START] if self.refaults.is_slow else []
        return tuple(dict.fromkeys((*filter(None, enforced), *own, *self.notes, *left_out)))

    def _asking_us(self, now_us: int) -> int:
        """CPU time that schemes which only count may take for their filters: as monitoring may."""
        past_us = self.intervals.aggr_us if self._applied_us is None else now_us - self._applied_us
        self._applied_us = now_us
        return self.policy.monitoring.userspace.cpu_bp * past_us // 10_000

    def _make_actor(self, policy: Policy) -> FilteringActor:
        if self.info.granularity is not Granularity.PAGE:
            check_pages(policy, self.info.name)
        if self.info.sees == "w":
            check_writes(policy)
        specs = shape(policy, self.intervals)
        self._check_rights(specs)
        inner = ProcessActor(specs, self.tools.effects, self.gate, policy.monitoring.update_us)
        try:
            inner.follow(self.targets)
        except BaseException:
            inner.close()
            raise
        tools = self.tools
        return FilteringActor(inner, specs, tools.effects, tools.cpu_ns, self.take_young)

    def _check_rights(self, specs: Sequence[SchemeSpec]) -> None:
        """What could only fail, at the first action, long after it was called active."""
        acts = any(spec.action != Action.STAT for spec in specs)
        fs, roots = self.tools.fs, self.tools.roots
        if acts and has_capability(fs, roots, CAP_SYS_NICE) is False:
            raise HostError(
                "not allowed to act on the memory of other processes",
                hint="run as root or with CAP_SYS_NICE, or let the policy observe",
            )

    def _most_targets(self) -> int:
        return max(self.policy.monitoring.max_regions // self.per_target, 1)

    def _govern(self) -> Governor:
        budget = self.policy.monitoring.userspace
        return Governor(self.wanted(), budget.cpu_bp, budget.stall_us, ACTION_BP)
