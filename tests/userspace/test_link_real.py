"""The monitor as a process of its own, as the agent starts it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.agent.events import Logger
from damos_agent.agent.link import MonitorLink
from damos_agent.host.roots import Roots
from damos_agent.model.policy import ProbeChoice, Userspace
from damos_agent.model.userspace import Work
from tests.load.layout import HotCold
from tests.load.run import start
from tests.userspace.contexting import SLOW, pageout, policy_of
from tests.userspace.live import descriptors, locks

MIB = 1 << 20
LAYOUT = HotCold(16 * MIB, 4 * MIB, 4 * MIB)
VMA = policy_of(pageout(), monitoring=replace(SLOW, userspace=Userspace(probe=ProbeChoice.VMA)))

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="watching other processes takes root")


class Silent:
    """A logger that keeps what was said."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.events.append((event, fields))


@pytest.fixture
def link(tmp_path: Path) -> Iterator[MonitorLink]:
    made = MonitorLink(Roots(run=str(tmp_path)), _logger())
    yield made
    made.close()


def _logger() -> Logger:
    return Silent()


def now_us() -> int:
    return time.monotonic_ns() // 1_000


def hear(link: MonitorLink, until: Callable[[], bool], seconds: float = 120) -> None:
    """Ask every half second, until that holds."""
    end_s = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end_s, (link.report, link.failure)
        link.ask(now_us(), snapshots=True)
        descriptor = link.fileno()
        if descriptor is not None and select.select([descriptor], [], [], 0.5)[0]:
            link.receive(now_us())


def watches(link: MonitorLink) -> bool:
    contexts = link.report.contexts
    return bool(contexts and contexts[0].snapshot and contexts[0].snapshot.regions)


def test_a_report_arrives(link: MonitorLink, tmp_path: Path) -> None:
    """With the rungs of the ladder, and regions once a window is over; then everything ends."""
    with start(LAYOUT) as load:
        link.order([Work(VMA, (load.placement(),))], now_us())
        assert link.pid is not None
        hear(link, lambda: watches(link))
        report = link.report
        assert {rung.name for rung in report.rungs} == set(ProbeChoice) - {ProbeChoice.AUTO}
        assert report.contexts[0].probe == "vma"
        assert len(locks(tmp_path)) == 1
        link.order([], now_us())
        assert link.pid is None
        assert locks(tmp_path) == []
        assert link.failure == ""


def test_killed(link: MonitorLink, tmp_path: Path) -> None:
    """The link says so and starts another, which takes over the locks."""
    with start(LAYOUT) as load:
        works = [Work(VMA, (load.placement(),))]
        link.order(works, now_us())
        hear(link, lambda: bool(link.report.contexts))
        first = link.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        hear(link, lambda: link.pid is None, 60)
        assert "killed by signal 9" in link.failure
        retry_us = link.retry_us
        assert retry_us is not None
        time.sleep(max(retry_us - now_us(), 0) / 1e6)
        link.order(works, now_us())
        assert link.pid not in (None, first)
        hear(link, lambda: watches(link))
        assert link.failure == ""


def test_how_it_ended_is_told_also_when_only_asking_finds_out(link: MonitorLink) -> None:
    """Nothing was read in between."""
    with start(LAYOUT) as load:
        link.order([Work(VMA, (load.placement(),))], now_us())
        assert link.pid is not None
        os.kill(link.pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while link.pid is not None:
            assert time.monotonic() < deadline
            link.ask(now_us())
            time.sleep(0.01)
        assert "killed by signal 9" in link.failure


@pytest.mark.parametrize(("busy", "patience_s"), [(False, 120), (True, 1200)])
def test_silence_is_put_up_with_longer_from_one_that_wants_to_run(
    tmp_path: Path, busy: bool, patience_s: int
) -> None:
    """Stopped here, so that it cannot answer; the clock is ours."""
    link = MonitorLink(Roots(run=str(tmp_path)), _logger(), lambda _: busy)
    with start(LAYOUT) as load:
        begun_us = now_us()
        link.order([Work(VMA, (load.placement(),))], begun_us)
        assert link.pid is not None
        os.kill(link.pid, signal.SIGSTOP)
        link.ask(begun_us + (patience_s - 1) * 1_000_000)
        assert link.pid is not None
        link.ask(begun_us + (patience_s + 1) * 1_000_000)
        assert link.pid is None
        assert "did not answer" in link.failure
        link.close()


def test_terminated(link: MonitorLink, tmp_path: Path) -> None:
    """By hand: it gives back what it holds."""
    with start(LAYOUT) as load:
        link.order([Work(VMA, (load.placement(),))], now_us())
        hear(link, lambda: bool(link.report.contexts and link.report.contexts[0].targets))
        assert len(locks(tmp_path)) == 1
        assert link.pid is not None
        os.kill(link.pid, signal.SIGTERM)
        hear(link, lambda: link.pid is None, 60)
        assert "exit status 0" in link.failure
        assert locks(tmp_path) == []


AGENT = """
import sys, time
from damos_agent.agent.link import MonitorLink
from damos_agent.host.roots import Roots
from damos_agent.model.userspace import Work
from tests.userspace.test_link_real import VMA, _logger, now_us
link = MonitorLink(Roots(run=sys.argv[1]), _logger())
link.order([Work(VMA, ())], now_us())
print(link.pid, flush=True)
time.sleep(60)
"""


def test_no_orphan(tmp_path: Path) -> None:
    """A killed agent takes its monitor along."""
    command = [sys.executable, "-c", AGENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        pid = int(agent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        agent.kill()
    end_s = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in state(pid):
        assert time.monotonic() < end_s
        time.sleep(0.05)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_nothing_leaks(link: MonitorLink, tmp_path: Path) -> None:
    """Started and ended five times."""
    with start(LAYOUT) as load:
        before = descriptors()
        for _ in range(5):
            link.order([Work(VMA, (load.placement(),))], now_us())
            hear(link, lambda: bool(link.report.contexts))
            link.order([], now_us())
        assert descriptors() == before
        assert locks(tmp_path) == []


def test_how_long_it_has_been_silent_is_known(link: MonitorLink) -> None:
    """From the question on; for status, long before it is given up."""
    link.order([Work(VMA, ())], now_us())
    hear(link, lambda: bool(link.report.rungs))
    assert link.pid is not None
    os.kill(link.pid, signal.SIGSTOP)
    try:
        asked = now_us()
        link.ask(asked)
        link.ask(asked + 20_000_000)
        silent_us = link.silent_us(asked + 40_000_000)
        assert silent_us >= 40_000_000  # of the question before, maybe
        assert link.silent_us(asked + 41_000_000) == silent_us + 1_000_000
    finally:
        os.kill(link.pid, signal.SIGCONT)
    hear(link, lambda: link.silent_us(now_us()) == 0)


def test_whoever_waits_for_an_answer_does_not_wait_for_long(link: MonitorLink) -> None:
    with start(LAYOUT) as load:
        link.order([Work(VMA, (load.placement(),))], now_us())
        hear(link, lambda: watches(link))
        report = link.inquire(now_us())
        assert report is not None
        assert report.contexts[0].snapshot is not None
        pid = link.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            assert link.inquire(now_us()) is None
            assert time.monotonic() - begun < 30
        finally:
            os.kill(pid, signal.SIGCONT)
        hear(link, lambda: link.silent_us(now_us()) == 0)
