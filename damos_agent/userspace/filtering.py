"""Page filters in user space: only what is certain to pass them is handed to the action."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from damos_agent.algo.actor import Applied
from damos_agent.algo.ranges import union
from damos_agent.algo.region import Region
from damos_agent.algo.verdict import PageFacts, accepts_page
from damos_agent.host.filesystem import read_if_there
from damos_agent.host.process import parse_cgroup
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.policy import Action, AddressRange
from damos_agent.userspace.actor import ProcessActor
from damos_agent.userspace.handle import Effects

Known = list[tuple[AddressRange, PageFacts]]


class FilteringActor:
    """An `Actor` around the one that acts.

    `took_ns`: time of all actions of the round; `cpu_ns`: CPU time of this thread that went into
    actions since it was set to 0.
    """

    def __init__(
        self,
        inner: ProcessActor,
        specs: Sequence[SchemeSpec],
        effects: Effects,
        cpu_ns: Callable[[], int],
    ) -> None:
        self.inner = inner
        self.took_ns = 0
        self.cpu_ns = 0
        self._specs = tuple(specs)
        self._effects = effects
        self._thread_ns = cpu_ns
        self._facts: dict[Placement, Known] = {}

    def begin_round(self, budget_us: int, *, page_out: bool = True) -> None:
        """As the inner one's. What is known of mappings is read anew, once it is needed."""
        self.took_ns = 0
        self._facts.clear()
        self.inner.begin_round(budget_us, page_out=page_out)

    def apply(self, scheme: int, process: Placement, region: Region) -> Applied:
        """See `algo.actor.Actor`; `passed` tells the bytes that passed the page filters."""
        spec = self._specs[scheme]
        act = self._apply_filtered if spec.ops_filters else self.inner.apply
        if spec.action == Action.STAT:
            return act(scheme, process, region)
        begun = self._thread_ns()
        done = act(scheme, process, region)
        self.cpu_ns += self._thread_ns() - begun
        self.took_ns += done.took_ns
        return done

    def _apply_filtered(self, scheme: int, process: Placement, region: Region) -> Applied:
        parts = [
            replace(region, start=part.start, end=part.end)
            for part in self._passing(self._specs[scheme], process, region)
        ]
        done = [self.inner.apply(scheme, process, part) for part in parts]
        # What is left for later keeps its age, and with it what lies around it.
        left = sum(
            p.size - d.tried for p, d in zip(parts, done, strict=True) if d.tried is not None
        )
        return Applied(
            sum(one.applied for one in done),
            sum(one.took_ns for one in done),
            sum(part.size for part in parts),
            touched=all(one.touched for one in done),
            tried=region.size - left if left else None,
        )

    def _passing(
        self, spec: SchemeSpec, process: Placement, region: Region
    ) -> tuple[AddressRange, ...]:
        known = self._known(process)
        first = bisect_right(known, region.start, key=lambda item: item[0].end)
        last = bisect_left(known, region.end, key=lambda item: item[0].start)
        return union(
            AddressRange(max(where.start, region.start), min(where.end, region.end))
            for where, facts in known[first:last]
            if accepts_page(spec.ops_filters, facts)
        )

    def _known(self, process: Placement) -> Known:
        if process not in self._facts:
            fs, base = self._effects.fs, f"{self._effects.roots.proc}/{process.pid}"
            maps = read_if_there(fs, f"{base}/maps") or ""
            memcg = parse_cgroup(read_if_there(fs, f"{base}/cgroup") or "") or None
            self._facts[process] = join_facts(parse_facts(maps, memcg))
        return self._facts[process]


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
