"""Goals of the agent's own, from a number to what DAMON is told, on a simulated machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from damos_agent.algo.goals import STEP_US
from damos_agent.cli.status_text import goal_text
from damos_agent.model.errors import HostError
from damos_agent.model.status import GoalStatus
from tests.agent.engine import running
from tests.agent.test_warden import Bench
from tests.config import samples

MIB = 1 << 20
STEP_S = STEP_US / 1e6
RSS = samples.policy(
    "rss",
    target="{process: {exe: work}}",
    mode="enforce",
    quota="{size: 64MiB, interval: 1s, goals: [{rss: 100MiB}]}",
).replace("spec:", "spec:\n  guard: {refaults: max, cpu: max}")
FED = samples.policy(
    "fed",
    target="{physical: {}}",
    mode="enforce",
    quota="{size: 64MiB, interval: 1s, goals: [{user_input: {target: 1000, feed: p99}}]}",
).replace("spec:", "spec:\n  guard: {refaults: max, cpu: max}")


class Steered(Bench):
    """`rss` sets the size of the one process."""

    def __init__(self, root: Path, kernel: str = "7.3") -> None:
        super().__init__(root, kernel)
        self.pid = self.engine.world.spawn("work")
        self.rss(200)

    def rss(self, mib: int) -> None:
        self.files[f"/proc/{self.pid}/status"] = (
            f"Uid:\t0\t0\t0\t0\nVmRSS:\t{mib << 10} kB\nVmSwap:\t0 kB\n"
        )

    def step(self) -> None:
        """As much tried as the quota allows, and then a step."""
        self.engine.world.advance(STEP_S)
        if self.engine.core.steer():
            self.engine.core.reconcile()

    def goal(self) -> GoalStatus:
        self.engine.core.tell_outcomes()
        (policy,) = self.engine.core.status().policies
        return policy.schemes[0].goals[0]


@pytest.fixture
def bench(tmp_path: Path) -> Steered:
    made = Steered(tmp_path)
    made.put(RSS)
    return made


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Every quota is used up, whatever the simulated kdamond has found to do."""

    def use() -> None:
        monkeypatch.setattr("damos_agent.agent.pilot._tried", lambda _counters, _index: None)

    return use


def test_it_begins_with_a_seed_and_the_kernel_knows_of_no_goal(bench: Steered) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        assert bench.quota() == MIB
        tree = bench.engine.world.damon.running(0)
        assert tree["schemes/0/quotas/goals/nr_goals"] == "0"
        assert "steer" in bench.engine.loop.schedule.due


def test_far_from_the_goal_it_grows_and_beyond_it_is_cut(
    bench: Steered, used: Callable[[], None]
) -> None:
    used()
    with running(bench.engine):
        bench.engine.reloads(1)
        quotas = []
        for _ in range(10):
            bench.step()
            quotas.append(bench.quota())
        assert quotas[-1] > 8 * MIB
        assert quotas == sorted(quotas)
        told = bench.goal()
        assert (told.tuner, told.step, told.current) == ("agent", "below_goal", 200 * MIB)
        bench.rss(105)  # within the band
        bench.step()
        assert bench.quota() == MIB  # what is missing, in five seconds
        assert bench.goal().step == "met"
        bench.rss(50)
        bench.step()
        assert bench.quota() == 4096
        assert bench.goal().step == "over_goal"


def test_a_quota_that_is_not_used_up_does_not_grow(bench: Steered) -> None:
    """The simulated kdamond finds nothing idle for two minutes yet."""
    with running(bench.engine):
        bench.engine.reloads(1)
        for _ in range(10):
            bench.step()
        assert bench.quota() <= 2 * MIB


def test_at_rest_nothing_is_written(bench: Steered, used: Callable[[], None]) -> None:
    used()
    bench.rss(100)
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.step()
        writes = bench.engine.world.journal.writes
        for _ in range(20):
            bench.step()
        assert bench.engine.world.journal.writes == writes
        assert bench.engine.core.reconcile().plan.empty  # type: ignore[union-attr]


def test_without_input_the_quota_falls(tmp_path: Path, used: Callable[[], None]) -> None:
    used()
    bench = Steered(tmp_path)
    bench.put(FED)
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.engine.core.feed("p99", "100")
        for _ in range(8):
            bench.step()
            bench.engine.core.feed("p99", "100")
        high = bench.quota()
        assert high > MIB
        for _ in range(16):
            bench.step()  # it is stale after a minute
        assert bench.quota() < high // 2
        assert bench.goal().step == "no_input"
        assert bench.goal().current is None


def test_numbers_nobody_asks_for_are_refused(bench: Steered) -> None:
    with running(bench.engine):
        bench.engine.reloads(1)
        with pytest.raises(HostError, match="no policy asks"):
            bench.engine.core.feed("p99", "1")
        bench.put(FED, "b")
        bench.engine.until(lambda: "fed" in bench.engine.core.policies)
        with pytest.raises(HostError, match="no whole number"):
            bench.engine.core.feed("p99", "1.5")
        bench.engine.core.feed("p99", "15")


def test_a_restart_goes_on_from_where_it_was(
    bench: Steered, used: Callable[[], None], tmp_path: Path
) -> None:
    used()
    with running(bench.engine):
        bench.engine.reloads(1)
        for _ in range(6):
            bench.step()
        quota = bench.quota()
        assert quota > 2 * MIB
        kept = json.loads((tmp_path / "run/held.json").read_text())
        assert kept["sizes"] == {"rss": {"0": quota}}
        bench.engine.core._tuning.pilot = None
        bench.engine.core.warden.adopt()
        bench.step()
        assert bench.quota() == quota


def test_an_edit_begins_anew_and_a_goal_taken_away_leaves_nothing(
    bench: Steered, used: Callable[[], None]
) -> None:
    used()
    with running(bench.engine):
        bench.engine.reloads(1)
        for _ in range(6):
            bench.step()
        bench.put(RSS.replace(", goals: [{rss: 100MiB}]", ""))
        bench.engine.until(lambda: bench.quota() == 64 * MIB)
        assert bench.engine.core.warden.held.sizes == {}
        assert not bench.engine.core.steers
        assert "steer" not in bench.engine.loop.schedule.due


def test_while_it_is_paused_nothing_is_learned(bench: Steered, used: Callable[[], None]) -> None:
    used()
    with running(bench.engine):
        bench.engine.reloads(1)
        bench.step()
        bench.engine.loop.switch(lambda: bench.engine.core.pause("rss"))
        for _ in range(10):
            bench.step()
        assert bench.quota() == MIB


@pytest.mark.parametrize(("kernel", "tuner", "goals"), [("7.2", "agent", 0), ("7.3", "kernel", 1)])
def test_a_kernel_that_measures_pressure_wrongly_is_not_asked_to(
    tmp_path: Path, kernel: str, tuner: str, goals: int
) -> None:
    bench = Steered(tmp_path, kernel)
    bench.put(RSS.replace("rss: 100MiB", "memory_psi_some: 1%"))
    bench.files["/proc/pressure/memory"] = (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    with running(bench.engine):
        bench.engine.reloads(1)
        assert bench.goal().tuner == tuner
        assert (kernel in bench.goal().why) is (tuner == "agent")
        tree = bench.engine.world.damon.running(0)
        assert tree["schemes/0/quotas/goals/nr_goals"] == str(goals)


def test_status_says_who_tunes_and_why() -> None:
    told = GoalStatus("rss", "size", 100 * MIB, 200 * MIB, "agent", "the kernel does not", "met")
    assert goal_text(told) == (
        "goal rss: 200.0 MiB of 100.0 MiB, met (tuned by the agent: the kernel does not)"
    )
    lost = GoalStatus("user_input", "count", 5, None, "agent", "outside", "no_input")
    assert goal_text(lost) == (
        "goal user_input: not measured, target 5, no input, so the quota falls "
        "(tuned by the agent: outside)"
    )
    assert goal_text(GoalStatus("memory_psi_some", "share", 100, 40, "kernel")) == (
        "goal memory_psi_some: 0.4% of 1%"
    )
