"""Target filters in the agent's own monitor: they count the policy's list, whoever is watched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from damos_agent.algo.lower import Intervals
from damos_agent.algo.region import Region
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.policy import Filter, FilterType, Mode, Monitoring, Pattern, Policy
from damos_agent.model.userspace import Work
from damos_agent.userspace.context import Context, Tools
from damos_agent.userspace.governor import Wanted
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.probe import Granularity, ProbeInfo
from damos_agent.userspace.watched import Sampler
from tests.kernel.desk import reclaim

INFO = ProbeInfo("none", Granularity.PAGE, "rw", "sees nothing")
PAGES = {101: 1, 102: 10, 103: 100}


class NoSampler:
    """Nothing is looked at in these tests."""

    def close(self) -> None:
        """Nothing to give back."""


class Blind(Context):
    """A context whose regions are those of PAGES."""

    def wanted(self) -> Wanted:
        return Wanted(self.intervals.sample_us, self.intervals.aggr_us, 3, 100)

    def open(self, process: Placement) -> Sampler:
        return NoSampler()  # type: ignore[return-value]

    def work(self, now_us: int) -> None:
        self.apply(now_us, 1_000, 0, 1 << 40)

    def plan(self, spent_ns: int, now_us: int, debt_us: int) -> int:
        return 1_000_000

    def rest(self) -> None:
        """Nothing was begun."""

    def follow_monitoring(self, old: Monitoring) -> None:
        """It stays as it is."""


def tried_pages(
    tmp_path: Path, listed: tuple[int, ...], watched: tuple[int, ...], item: Filter
) -> int:
    """How many pages a policy for `listed` tries while `watched` of them are watched."""
    policy: Policy = replace(reclaim("a", *listed), mode=Mode.OBSERVE)
    scheme = replace(policy.schemes[0], pattern=Pattern(access_max_bp=0), filters=(item,))
    policy = replace(policy, schemes=(scheme,))
    roots = Roots(proc=str(tmp_path / "proc"), run=str(tmp_path / "run"))
    tools = Tools(RealFilesystem(), roots, Effects(RealFilesystem(), roots), Random(0))
    work = Work(policy, tuple(Placement(pid, 1) for pid in watched))
    context = Blind(work, INFO, Intervals(5_000, 100_000), tools)
    try:
        context.watched.open_missing(1, lambda: False)
        for process, target in context.targets.items():
            target.regions = [Region(0, 4096 * PAGES[process.pid])]
            target.seen = True
        context.work(1)
        return context.schemes.stats()[0].sz_tried // 4096
    finally:
        context.close()


@pytest.mark.parametrize(
    ("listed", "watched", "allow", "pages"),
    [
        ((103, 101, 102), (101, 102, 103), False, 110),
        ((103, 101, 102), (102, 103), False, 110),
        ((103, 101), (103,), False, 100),
        ((103, 101, 102), (101, 102, 103), True, 1),
        ((103, 101, 102), (102, 103), True, 0),
    ],
)
def test_the_second_of_the_list_is_meant(
    tmp_path: Path, listed: tuple[int, ...], watched: tuple[int, ...], allow: bool, pages: int
) -> None:
    item = Filter(FilterType.TARGET, allow=allow, target_index=1)
    assert tried_pages(tmp_path, listed, watched, item) == pages
