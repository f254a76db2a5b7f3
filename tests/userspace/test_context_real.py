"""Contexts on real processes: what they find, what they cost, and what becomes of hard cases."""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import DamosError
from damos_agent.model.policy import Action, Mode, Monitoring, Pattern, Scheme
from damos_agent.userspace.pte.probe import PteProbe
from tests.load.layout import HotCold, Stripes
from tests.load.run import start
from tests.load.score import Thresholds, score
from tests.userspace.child import child
from tests.userspace.contexting import SLOW, pageout, policy_of
from tests.userspace.live import descriptors, live, locks, pte_context, seen, vma_context
from tests.userspace.machine import mib, missing_for_swap, zram_swap

MIB = 1 << 20
CPU_SHARE = 0.01
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="watching other processes takes root")
pytestmark = ROOT


def why_no_pte() -> str:
    if os.geteuid() != 0:
        return "reading page tables takes root"
    try:
        PteProbe(RealFilesystem(), Roots()).close()
    except DamosError as error:
        return str(error)
    return ""


NO_PTE = why_no_pte()
needs_pte = pytest.mark.skipif(bool(NO_PTE), reason=NO_PTE or "works")


@pytest.fixture(scope="module")
def _swap() -> Iterator[None]:
    if missing := missing_for_swap():
        pytest.skip(missing)
    with zram_swap(mib(512)):
        yield


@pytest.mark.parametrize("kind", ["anon", "shared"])
@pytest.mark.parametrize(
    "layout", [HotCold(64 * MIB, 16 * MIB, 8 * MIB), Stripes(64 * MIB, 4, 4 * MIB)]
)
def test_mappings_are_told_exactly(layout: HotCold | Stripes, kind: str, tmp_path: Path) -> None:
    """Each part of the layout is a mapping: its rate is 0 or 1."""
    with start(layout, kind, "--gap", "2M") as load:
        context = vma_context(tmp_path, policy_of(), load.placement())
        share = live(context, 9)
        limits = Thresholds(hot=0.9, cold=0.0)
        found = score(load.truth(2.0), seen(context, load.pid), limits)
        context.close()
    assert found.hot.f1 == 1
    assert found.cold.f1 == 1
    assert found.working_set_error == 0
    assert share <= 5 * CPU_SHARE


@needs_pte
def test_a_hot_spot_is_found_within_the_budget(tmp_path: Path) -> None:
    """Among 512 MiB; by one percent of a core, also while it is being found."""
    with start(HotCold(512 * MIB, 128 * MIB, 64 * MIB)) as load:
        context = pte_context(tmp_path, policy_of(pageout()), load.placement())
        first = live(context, 12)
        second = live(context, 12)
        found = score(load.truth(2.0), seen(context, load.pid))
        report = context.report()
        context.close()
    assert found.hot.f1 >= 0.95
    assert abs(found.working_set_error) <= 0.05
    assert first <= 1.4 * CPU_SHARE  # with opening, and the first look
    assert second <= 1.2 * CPU_SHARE
    assert report.cpu_bp <= 140
    assert (report.schemes[0].tried_bytes or 0) >= 400 * MIB


@needs_pte
def test_ten_thousand_mappings(tmp_path: Path) -> None:
    """Bounded by what is left out between, and in CPU; also for whole mappings."""
    options = ("--mappings", "10000")
    with start(HotCold(64 * MIB, 16 * MIB, 16 * MIB), "anon", *options) as load:
        context = pte_context(tmp_path, policy_of(pageout()), load.placement())
        share = live(context, 16)
        report = context.report()
        found = score(load.truth(2.0), seen(context, load.pid))
        context.close()
        assert report.targets == 1
        assert report.regions <= 1_000
        assert share <= 5 * CPU_SHARE
        assert found.hot.f1 >= 0.9
        whole = vma_context(tmp_path, policy_of(), load.placement())
        share = live(whole, 20)
        report = whole.report()
        whole.close()
        assert report.regions <= 1_000
        assert any("largest mappings" in note for note in report.notes)
        assert report.stretched > 1
        assert share <= 5 * CPU_SHARE


STORM = """
import os, sys, time
time.sleep(1)
for _ in range(1000):
    if not os.fork():
        time.sleep(0.3)
        os._exit(0)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    time.sleep(0.004)
time.sleep(60)
"""


def children(parent: int) -> tuple[Placement, ...]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    stats = (read_stat(RealFilesystem(), Roots(), int(pid)) for pid in text.split())
    return tuple(Placement(s.pid, s.start_ticks) for s in stats if s is not None)


@pytest.mark.parametrize("kind", ["pte", "vma"])
def test_a_fork_storm(kind: str, tmp_path: Path) -> None:
    """A thousand short processes, all of which the policy means: no leak, bounded CPU."""
    if kind == "pte" and NO_PTE:
        pytest.skip(NO_PTE)
    policy = policy_of(pageout(pattern=Pattern(access_max_bp=0)), mode=Mode.ENFORCE)
    make = pte_context if kind == "pte" else vma_context
    context = make(tmp_path, policy)
    before = descriptors()
    with subprocess.Popen([sys.executable, "-c", STORM]) as storm:
        try:
            most = 0
            told_s = 0.0

            def look() -> None:
                nonlocal most, told_s
                if time.monotonic() - told_s >= 0.5:
                    told_s = time.monotonic()
                    context.retarget(children(storm.pid))
                most = max(most, len(context.targets))

            share = live(context, 9, look)
            assert most > 5
            context.retarget(())
            assert descriptors() <= before
            assert locks(tmp_path) == []
            assert share <= 0.05
        finally:
            storm.kill()
    context.close()


@needs_pte
@pytest.mark.usefixtures("_swap")
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """While it is sampled, sent canaries of, and paged out: nothing is left, nothing raised."""
    lots = random.Random(1)
    fast = replace(SLOW, aggr_us=400_000)
    eager = pageout(pattern=Pattern(access_max_bp=0), apply_interval_us=100_000)
    policy = policy_of(eager, mode=Mode.ENFORCE, monitoring=fast)
    context = pte_context(tmp_path, policy)
    before = descriptors()
    paged = 0
    for _ in range(8):
        with start(HotCold(32 * MIB, 0, 4 * MIB)) as load:
            context.retarget((load.placement(),))
            killed_s = time.monotonic() + lots.uniform(0.05, 2.5)

            def strike(load: object = load, at_s: float = killed_s) -> None:
                if time.monotonic() >= at_s:
                    load.process.kill()  # type: ignore[attr-defined]

            live(context, killed_s - time.monotonic() + 0.3, strike)
            load.process.wait()
            live(context, 0.3)
            assert context.report().targets == 0
    paged = context.report().schemes[0].sz_applied
    assert paged > 0
    context.retarget(())
    assert descriptors() <= before
    assert locks(tmp_path) == []
    context.close()


@needs_pte
@pytest.mark.usefixtures("_swap")
def test_cold_memory_goes_and_hot_memory_stays(tmp_path: Path) -> None:
    """From end to end, by adaptive regions; canaries may hit what is hot."""
    with start(HotCold(64 * MIB, 16 * MIB, 16 * MIB)) as load:
        scheme = pageout(pattern=Pattern(access_max_bp=0, age_min_us=4_000_000))
        context = pte_context(tmp_path, policy_of(scheme, mode=Mode.ENFORCE), load.placement())
        live(context, 20)
        report = context.report()
        context.close()
        status = Path(f"/proc/{load.pid}/status").read_text()
        swapped = int(status.split("VmSwap:")[1].split()[0]) << 10
    assert swapped >= 40 * MIB
    assert report.schemes[0].sz_applied >= 40 * MIB
    assert report.canaries.sent_bytes > 0


@needs_pte
def test_exec_under_the_probe(tmp_path: Path) -> None:
    """The new program starts over."""
    context = None
    with child() as load:
        context = pte_context(tmp_path, policy_of(), load.placement)
        live(context, 5)
        assert context.snapshot().regions
        load.tell("exec")
        live(context, 3)
        assert context.report().targets == 1
        assert max(r.age for t in context.targets.values() for r in t.regions) <= 1
    live(context, 1)
    assert context.report().targets == 0
    context.close()


@needs_pte
def test_huge_pages_and_file_mappings(tmp_path: Path) -> None:
    """One accessed bit for 2 MiB; a file's pages that only this process maps."""
    with start(HotCold(64 * MIB, 16 * MIB, 16 * MIB), "thp") as load:
        context = pte_context(tmp_path, policy_of(), load.placement())
        live(context, 14)
        found = score(load.truth(2.0), seen(context, load.pid))
        context.close()
    assert found.hot.f1 >= 0.9


@pytest.mark.parametrize("action", [Action.COLD, Action.COLLAPSE])
def test_memory_that_must_not_be_touched(action: Action, tmp_path: Path) -> None:
    """Locked memory of an idle process is left alone, and nothing is raised."""
    with start(HotCold(16 * MIB, 0, 4096), "anon", "--mlock") as load:
        scheme = Scheme(action, Pattern())
        policy = policy_of(scheme, mode=Mode.ENFORCE, monitoring=Monitoring())
        context = vma_context(tmp_path, policy, load.placement())
        live(context, 5)
        assert context.report().schemes[0].nr_tried > 0
        context.close()
    assert mmap.PAGESIZE == 4096
