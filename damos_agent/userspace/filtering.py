"""Page filters in user space: only what is certain to pass them is handed to the action.

What mappings tell is read once a round. Whether pages are young is asked right before they are
acted on, in pieces, and only where the verdict depends on it; asking makes them old.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from damos_agent.algo.actor import Applied, Ration
from damos_agent.algo.ranges import total_bytes, union
from damos_agent.algo.region import Region
from damos_agent.algo.verdict import PageFacts, accepts_page
from damos_agent.host.filesystem import read_if_there
from damos_agent.host.process import parse_cgroup
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.policy import Action, AddressRange, FilterType
from damos_agent.userspace.actor import REACH_BYTES, ProcessActor
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.rotation import Rotation
from damos_agent.userspace.young import Young

Known = list[tuple[AddressRange, PageFacts]]
TakeYoung = Callable[[Placement, AddressRange], Iterable[Young]]

_PIECE_BYTES: Final = 16 << 20
"""Pages are asked for and acted on in pieces of so much: 4096 small pages, tens of ms."""
_NOT_NOW: Final = Applied(0, 0, 0, touched=False, tried=0)


class FilteringActor:
    """An `Actor` around the one that acts.

    `took_ns`: time of all actions of the round; `cpu_ns`: CPU time of this thread that went into
    actions since it was set to 0; asking for young pages is part of them. `cut_short`: so much
    had to be asked in the round that the rest was left for later. `take_young` is of the probe.
    """

    def __init__(
        self,
        inner: ProcessActor,
        specs: Sequence[SchemeSpec],
        effects: Effects,
        cpu_ns: Callable[[], int],
        take_young: TakeYoung,
    ) -> None:
        self.inner = inner
        self.took_ns = 0
        self.cpu_ns = 0
        self.cut_short = False
        self._specs = tuple(specs)
        self._effects = effects
        self._thread_ns = cpu_ns
        self._take_young = take_young
        self._facts: dict[Placement, Known] = {}
        self._rotations = tuple(Rotation() for _ in specs)
        self._deadline_ns = self._asking_ns = 0

    def begin_round(
        self, budget_us: int, asking_us: int, *, page_out: bool = True, room: int | None = None
    ) -> None:
        """As the inner one's. What is known of mappings is read anew, once it is needed.

        `asking_us`: CPU time for asking on behalf of schemes that only count; more than that is
        taken from the rounds to come.
        """
        self.took_ns = 0
        self.cut_short = False
        self._facts.clear()
        for rotation in self._rotations:
            rotation.begin_round()
        self._deadline_ns = self._effects.clock_ns() + budget_us * 1_000
        self._asking_ns = min(self._asking_ns, 0) + asking_us * 1_000
        self.inner.begin_round(budget_us, page_out=page_out, room=room)

    def apply(
        self, scheme: int, process: Placement, region: Region, ration: Ration | None = None
    ) -> Applied:
        """See `algo.actor.Actor`; `passed` tells the bytes that passed the page filters."""
        spec = self._specs[scheme]
        if spec.action == Action.PAGEOUT and not self.inner.may_page_out:
            return _NOT_NOW  # without asking, which makes pages old
        asks = asks_young(spec)
        filtered = self._apply_in_pieces if asks else self._apply_filtered
        act = filtered if spec.ops_filters else self.inner.apply
        if spec.action == Action.STAT and not asks:
            return act(scheme, process, region, ration)
        begun = self._thread_ns()
        done = act(scheme, process, region, ration)
        self.cpu_ns += self._thread_ns() - begun
        self.took_ns += done.took_ns
        return done

    def _apply_in_pieces(
        self, scheme: int, process: Placement, region: Region, ration: Ration | None
    ) -> Applied:
        pieces = cut(region)
        done: list[Applied] = []
        for piece in pieces:
            done.append(self._apply_piece(scheme, process, piece, ration))
            if ration is not None and ration.left_ns is not None:
                ration = replace(ration, left_ns=max(ration.left_ns - done[-1].took_ns, 0))
        tried = sum(
            piece.size if one.tried is None else one.tried
            for piece, one in zip(pieces, done, strict=True)
        )
        return Applied(
            sum(one.applied for one in done),
            sum(one.took_ns for one in done),
            sum(one.passed or 0 for one in done),
            touched=all(one.touched for one in done),
            tried=tried if tried < region.size else None,
            begun=any(one.begun for one in done),
            trial_bytes=sum(one.trial_bytes for one in done),
            trial_ns=sum(one.trial_ns for one in done),
        )

    def _apply_piece(
        self, scheme: int, process: Placement, piece: Region, ration: Ration | None
    ) -> Applied:
        """While there is time to ask; what has gone meanwhile is left alone."""
        counts = self._specs[scheme].action == Action.STAT
        if ration is not None and ration.left_ns == 0:
            return _NOT_NOW  # without asking, which makes pages old
        if not self._has_turn(scheme, process, piece):
            self.cut_short = True
            return _NOT_NOW
        begun_ns = self._thread_ns()
        try:
            # Nothing is asked for trials alone: they stand for the piece.
            within = replace(ration, reach=piece.end) if ration else None
            done = self._apply_filtered(scheme, process, piece, within)
        except ProcessLookupError:
            return _NOT_NOW
        if counts:
            self._asking_ns -= self._thread_ns() - begun_ns
        return done

    def _has_turn(self, scheme: int, process: Placement, piece: Region) -> bool:
        """Schemes that act void the ages of what they have done: others come next by themselves."""
        over = self._effects.clock_ns() >= self._deadline_ns
        if self._specs[scheme].action != Action.STAT:
            return not over
        rotation = self._rotations[scheme]
        if rotation.is_skipped(process, piece.end):
            return False
        if over or self._asking_ns <= 0:
            rotation.stop(process, piece.start)
            return False
        return True

    def _apply_filtered(
        self, scheme: int, process: Placement, region: Region, ration: Ration | None
    ) -> Applied:
        begun_ns = self._effects.clock_ns()
        spec = self._specs[scheme]
        parts = self._passing(spec, process, region)
        took_ns = self._effects.clock_ns() - begun_ns
        if not parts:
            return Applied(0, took_ns, 0)
        beyond: tuple[AddressRange, ...] = ()
        if ration is not None and spec.action == Action.PAGEOUT and ration.reach > region.end:
            reach = min(ration.reach, region.end + REACH_BYTES)
            beyond = self._passing(spec, process, Region(region.end, reach))
        done = self.inner.apply(scheme, process, region, ration, parts, beyond)
        passing = total_bytes(parts)
        # What is left for later keeps its age, and with it what lies around it.
        left = 0 if done.tried is None else passing - done.tried
        return replace(
            done,
            took_ns=done.took_ns + took_ns,
            passed=passing - left,
            tried=region.size - left if left else None,
        )

    def _passing(
        self, spec: SchemeSpec, process: Placement, region: Region
    ) -> tuple[AddressRange, ...]:
        known = self._known(process)
        first = bisect_right(known, region.start, key=lambda item: item[0].end)
        last = bisect_left(known, region.end, key=lambda item: item[0].start)
        found: list[AddressRange] = []
        for where, facts in known[first:last]:
            inside = AddressRange(max(where.start, region.start), min(where.end, region.end))
            accepts = verdicts(spec, facts)
            if accepts[True] != accepts[False]:
                told = self._take_young(process, inside)
                found += [part for part, young in told if accepts[young]]
            elif accepts[True]:
                found.append(inside)
        return union(found)

    def _known(self, process: Placement) -> Known:
        if process not in self._facts:
            fs, base = self._effects.fs, f"{self._effects.roots.proc}/{process.pid}"
            maps = read_if_there(fs, f"{base}/maps") or ""
            memcg = parse_cgroup(read_if_there(fs, f"{base}/cgroup") or "") or None
            self._facts[process] = join_facts(parse_facts(maps, memcg))
        return self._facts[process]


def asks_young(spec: SchemeSpec) -> bool:
    """Whether the scheme has a filter on young pages."""
    return any(item.type == FilterType.YOUNG for item in spec.ops_filters)


def verdicts(spec: SchemeSpec, facts: PageFacts) -> dict[bool | None, bool]:
    """Whether pages of which the rest is known are accepted: young, old, and unknown ones."""
    return {
        young: accepts_page(spec.ops_filters, replace(facts, young=young))
        for young in (True, False, None)
    }


def cut(region: Region) -> list[Region]:
    """The region in pieces that are small enough to be asked for at once."""
    starts = range(region.start, region.end, _PIECE_BYTES)
    return [
        replace(region, start=start, end=min(start + _PIECE_BYTES, region.end)) for start in starts
    ]


def join_facts(facts: Iterable[tuple[AddressRange, PageFacts]]) -> Known:
    """The same, with neighbours joined of which the same is known."""
    joined: Known = []
    for where, fact in facts:
        if joined and joined[-1][0].end == where.start and joined[-1][1] == fact:
            joined[-1] = (AddressRange(joined[-1][0].start, where.end), fact)
        else:
            joined.append((where, fact))
    return joined


def parse_facts(maps: str, memcg: str | None) -> Iterator[tuple[AddressRange, PageFacts]]:
    """What /proc/PID/maps tells of the pages of each mapping.

    Private mappings of files hold pages of the file and, once written to, anonymous ones: which,
    it does not tell. `memcg` is the process's cgroup; pages it was not charged for, such as
    those of shared files, may belong to others, so theirs is unknown.
    """
    for line in maps.splitlines():
        where, permissions, _, _, inode, *_ = line.split(None, 5)
        start, _, end = where.partition("-")
        private = permissions.endswith("p")
        anon = True if inode == "0" and private else None if private else False
        facts = PageFacts(anon=anon, memcg=memcg if anon else None)
        yield AddressRange(int(start, 16), int(end, 16)), facts
