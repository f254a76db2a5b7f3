"""Monitoring in user space with idle page tracking finds what a process uses, where, and how much.

In virtual time, so that a busy host changes nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.pagemap import Pagemap
from damos_agent.host.roots import Roots
from damos_agent.model.policy import Action, Mode, Pattern, PidTarget, Policy, ProbeChoice, Scheme
from damos_agent.model.userspace import Orders, Work
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.page_idle import PageIdleProbe
from damos_agent.userspace.worker import Contexts
from tests.guest.watch import MONITORING, tools, watch
from tests.load.layout import HotCold
from tests.load.run import PROJECT, start
from tests.vm.guestlib import zram_swap

pytestmark = [
    pytest.mark.guest(kernels=("7.3-idle",), virtual_time=True),
    pytest.mark.timeout(86_400),  # virtual time flies while the guest waits for its host
    pytest.mark.usefixtures("warm_load"),
]

MIB = 1 << 20
LAYOUT = HotCold(256 * MIB, 96 * MIB, 32 * MIB)
LEAST_F1, MOST_ERROR = 0.95, 0.05
SECONDS = 40.0
PAGEOUT = Scheme(Action.PAGEOUT, Pattern(access_max_bp=0, age_min_us=4_000_000))


@pytest.fixture
def warm_load() -> None:
    """A load's files are in the page cache."""
    subprocess.run([sys.executable, "-S", "-m", "tests.load", "--help"], check=True, cwd=PROJECT)


@pytest.mark.parametrize("kind", ["anon", "thp"])
def test_the_hot_part_is_found_and_the_working_set_is_right(kind: str) -> None:
    ladder = Ladder(RealFilesystem(), Roots())
    with closing(ladder), start(LAYOUT, kind, "--flush", "--pause", "0.05") as load:
        probe = ladder.choose(ProbeChoice.AUTO)
        assert isinstance(probe, PageIdleProbe)
        watching = watch(load, probe)
        with closing(watching.context):
            watching.run(SECONDS)
            found = watching.score()
            print(kind, found, watching.context.report())
    assert found.hot.f1 >= LEAST_F1
    assert abs(found.working_set_error) <= MOST_ERROR
    assert found.hot_as_cold <= LAYOUT.hot_bytes // 100


def test_pageout_takes_what_is_idle_and_leaves_what_is_used() -> None:
    """As the monitor process serves a policy: it picks the probe, watches, and acts."""
    with zram_swap(512), start(LAYOUT, "anon", "--flush", "--pause", "0.05") as load:
        process, fs, roots = load.placement(), RealFilesystem(), Roots()
        policy = Policy("out", PidTarget((load.pid,)), (PAGEOUT,), Mode.ENFORCE)
        ladder = Ladder(fs, roots)
        contexts = Contexts(tools(), ladder)
        with closing(ladder), closing(contexts):
            orders = Orders((Work(replace(policy, monitoring=MONITORING), (process,)),))
            contexts.follow(orders, time.monotonic_ns() // 1_000)
            serve(contexts, 2 * SECONDS)
            (report,) = contexts.report(snapshots=False)
        with Pagemap(load.pid) as pagemap:
            hot = pagemap.count(*load.hot()[0])
            cold = [pagemap.count(*one) for one in load.cold()]
        print(report, hot, cold)
    assert report.probe == "page_idle"
    assert sum(one.swapped for one in cold) >= 0.5 * (LAYOUT.total - LAYOUT.hot_bytes)
    assert hot.present >= 0.99 * LAYOUT.hot_bytes


def serve(contexts: Contexts, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(max((contexts.due_us or 0) / 1e6 - time.monotonic(), 0))
        contexts.turn(lambda: time.monotonic_ns() // 1_000)
