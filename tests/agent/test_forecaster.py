"""`age: auto` and predictions, from regions to what DAMON is told, on a simulated machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from damos_agent.agent.forecaster import MOST_OBSERVED, Forecaster
from damos_agent.agent.warden import Ward
from damos_agent.algo.overlay import AUTO_US, OBSERVED_US, Hold, look_interval_us, overlay
from damos_agent.cli.explain_text import _forecast
from damos_agent.cli.status_text import _auto_age
from damos_agent.model.damon import SchemeStats
from damos_agent.model.errors import KernelError
from damos_agent.model.policy import Action, Limits, Mode, Pattern, PidTarget, Policy, Quota, Scheme
from damos_agent.model.status import Forecast, PolicyState
from damos_agent.model.userspace import ContextReport, Report, Snapshot, SnapshotRegion, Work
from tests.agent.engine import running
from tests.agent.test_warden import Bench
from tests.config import samples

S, MIB = 1_000_000, 1 << 20
AUTO = (
    samples.policy("auto", target="{process: {exe: work}}", mode="enforce")
    .replace("age: {min: 2m}", "age: auto")
    .replace("spec:", "spec:\n  guard: {cpu: max}\n  monitoring: {min_regions: 100}")
)
COLD = Scheme(Action.PAGEOUT, Pattern(access_max_bp=0, auto_age=True), quota=Quota(size=MIB))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.engine.world.spawn("work")
    made.put(AUTO)
    return made


def watch(bench: Bench, minutes: float) -> None:
    """Looks for so long, with the rounds that follow."""
    for _ in range(int(minutes * 60 * S // AUTO_US)):
        bench.engine.world.advance(AUTO_US / S)
        if bench.engine.core.forecast():
            bench.engine.core.reconcile()


def test_nothing_is_done_until_an_age_is_found_out_and_then_it_is_the_youngest(
    bench: Bench, tmp_path: Path
) -> None:
    """Memory that nobody touches ever."""
    with running(bench.engine):
        bench.engine.reloads(1)
        assert "forecast" in bench.engine.loop.schedule.due
        assert bench.action() == "stat"
        watch(bench, 2)
        assert bench.action() == "stat"
        told = bench.status("auto").forecast
        assert (told.age_us, told.reason) == (None, "learning")
        watch(bench, 10)
        assert bench.action() == "pageout"
        assert bench.engine.world.damon.running(0)["schemes/0/access_pattern/age/min"] == "100"
        told = bench.status("auto").forecast
        assert (told.age_us, told.reason) == (10 * S, "ok")
        assert any(row.cold > 0 and row.enough for row in told.ages)
        assert bench.engine.core.reconcile().plan.empty  # type: ignore[union-attr]
        kept = json.loads((tmp_path / "run/held.json").read_text())
        assert kept["ages"] == {"auto": 10 * S}

        # A restarted agent goes on with it.
        bench.engine.core._forecaster = None
        bench.engine.core.warden.adopt()
        watch(bench, 0.5)
        assert bench.action() == "pageout"

        # One without `auto` has its own, and nothing is left.
        bench.put(AUTO.replace("age: auto", "age: {min: 5m}"))
        tree = bench.engine.world.damon
        bench.engine.until(lambda: tree.running(0)["schemes/0/access_pattern/age/min"] == "3000")
        assert bench.engine.core.warden.held.ages == {}


def test_who_observes_gets_a_prediction(bench: Bench) -> None:
    text = AUTO.replace("age: auto", "age: {min: 2m}").replace("enforce", "observe")
    bench.put(text)
    with running(bench.engine):
        bench.engine.reloads(1)
        for _ in range(5):
            bench.engine.world.advance(OBSERVED_US / S)
            assert not bench.engine.core.forecast()
        (told,) = bench.status("auto").forecast.schemes
        assert told.matched > 0
        assert told.first == min(told.matched, 100 * MIB)
        assert told.per_s <= 100 * MIB
        assert bench.status("auto").forecast.reason == ""


def region(nr: int, age_s: float, start: int = 0) -> SnapshotRegion:
    return SnapshotRegion(7, start, start + 8 * MIB, nr, int(age_s * S))


def snapshot(*regions: SnapshotRegion) -> Snapshot:
    return Snapshot("damon", "region", 5_000, 100_000, 20, regions)


def policy(mode: Mode = Mode.ENFORCE, scheme: Scheme = COLD, name: str = "p") -> Policy:
    return Policy(name, PidTarget((7,)), (scheme,), mode)


def test_memory_needed_once_a_minute_is_left_for_longer_than_that() -> None:
    """8 MiB in use, 8 MiB touched once a minute, 8 MiB never."""
    forecaster, ward = Forecaster(), Ward(policy(), (), (3,))
    for look in range(200):
        now_s = look * 10
        shown = snapshot(
            region(20, 5, 0), region(0, now_s % 60 + 1, 64 * MIB), region(0, now_s, 128 * MIB)
        )
        forecaster.take(ward, shown, None, False, now_s * S)
    assert forecaster.ages["p"] in (60 * S, 90 * S)
    told = forecaster.forecast(ward.policy)
    assert told is not None
    young = next(row for row in told.ages if row.age_us == 30 * S)
    assert young.enough
    assert young.back == pytest.approx(8 * MIB, rel=0.05)
    assert told.working_set == 8 * MIB


def test_the_budget_is_the_guards() -> None:
    generous = replace(policy(), guard=Limits(refaults_bp=50_000))
    forecaster, ward = Forecaster(), Ward(generous, (), (3,))
    for look in range(200):
        shown = snapshot(region(20, 5, 0), region(0, look * 10 % 60 + 1, 64 * MIB))
        forecaster.take(ward, shown, None, False, look * AUTO_US)
    assert forecaster.ages["p"] == 10 * S


@pytest.mark.parametrize(("pages", "age_s"), [(100, 10), (300, 60)])
def test_a_handful_of_pages_is_no_matter_however_small_the_workload(
    pages: int, age_s: float
) -> None:
    """The guard lets 256 pages a minute come back, and so do we: they are touched once a minute."""
    forecaster, ward = Forecaster(), Ward(policy(), (), (3,))
    touched = replace(region(0, 0, 64 * MIB), end=64 * MIB + pages * 4096)
    for look in range(200):
        shown = snapshot(region(20, 5, 0), replace(touched, age_us=(look * 10 % 60 + 1) * S))
        forecaster.take(ward, shown, None, False, look * AUTO_US)
    assert forecaster.ages["p"] >= age_s * S
    assert (forecaster.ages["p"] == 10 * S) is (pages < 256)


def test_what_was_paged_out_is_no_return() -> None:
    """Acting makes ages 0, as touching does."""
    forecaster = Forecaster({"p": 30 * S})
    ward = Ward(policy(), (), (3,))
    for look in range(100):
        age = look * 10 % 30 + 1
        tried = look // 3 * 8 * MIB
        shown = snapshot(region(20, 5, 0), region(0, age, 64 * MIB))
        forecaster.take(ward, shown, [SchemeStats(sz_tried=tried)], True, look * AUTO_US)
    told = forecaster.forecast(ward.policy)
    assert told is not None
    assert max(row.back for row in told.ages) == 0


def test_what_goes_while_the_kernel_is_waited_for_is_no_return_either() -> None:
    """Regions come an aggregation after they were asked for; page-out goes on meanwhile."""
    forecaster = Forecaster({"p": 30 * S})
    ward = Ward(policy(), (), (3,))
    tried = 0
    ages = [100.0] * 8

    def counters() -> list[SchemeStats]:
        return [SchemeStats(sz_tried=tried)]

    def regions(_name: str) -> Snapshot:
        nonlocal tried
        # One of eight pieces goes while the kernel is waited for, and its age with it.
        oldest = ages.index(max(ages))
        ages[oldest] = 0.0
        tried += 8 * MIB
        idle = (region(0, age, (n + 1) * 64 * MIB) for n, age in enumerate(ages))
        return snapshot(region(20, 5, 0), *idle)

    for look in range(100):
        forecaster.look(ward, regions, counters, True, look * AUTO_US)
        ages[:] = [age + AUTO_US / S for age in ages]
    told = forecaster.forecast(ward.policy)
    assert told is not None
    assert max(row.back for row in told.ages) == 0


def test_a_kdamond_that_began_anew_teaches_nothing() -> None:
    forecaster = Forecaster()
    for look in range(80):
        ward = Ward(policy(), (), (look,))
        forecaster.take(ward, snapshot(region(0, 1)), None, False, look * AUTO_US)
    told = forecaster.forecast(policy())
    assert told is not None
    assert not any(row.enough or row.back for row in told.ages)


def test_regions_that_cannot_be_had_are_told() -> None:
    def fail(_name: str) -> Snapshot:
        raise KernelError("DAMON is busy")

    forecaster, ward = Forecaster(), Ward(policy(), (), (3,))
    assert not forecaster.look(ward, fail, lambda: None, True, 0)
    told = forecaster.forecast(ward.policy)
    assert told is not None
    assert told.why == "DAMON is busy"
    assert "regions cannot be had: DAMON is busy" in "\n".join(_forecast(told, "enforce"))


def test_looks_are_as_rare_as_they_may_be() -> None:
    fixed = replace(COLD, pattern=Pattern(access_max_bp=0, age_min_us=60 * S))
    observing = policy(Mode.OBSERVE, fixed)
    assert look_interval_us([policy(Mode.ENFORCE, fixed)]) is None
    assert look_interval_us([observing]) == OBSERVED_US
    assert look_interval_us([observing, policy()]) == AUTO_US
    forecaster = Forecaster()
    wards = [Ward(policy(Mode.OBSERVE, fixed, f"o{n}")) for n in range(20)]
    due = forecaster.due([*wards, Ward(policy())], 0)
    assert len(due) == MOST_OBSERVED + 1
    for ward in due:
        forecaster.take(ward, snapshot(region(0, 1)), None, False, 0)
    assert [w.policy.name for w in forecaster.due([*wards, Ward(policy())], AUTO_US)] == ["p"]
    assert forecaster.due([], 0) == []
    assert forecaster.forecast(policy()) is None


def test_until_then_nothing_acts_and_observing_counts_hours() -> None:
    (held,) = overlay(policy(), Hold()).schemes
    assert held.action is Action.STAT
    (aged,) = overlay(policy(), Hold(auto_us=45 * S)).schemes
    assert (aged.action, aged.pattern.age_min_us) == (Action.PAGEOUT, 45 * S)
    assert not aged.pattern.auto_age
    (seen,) = overlay(policy(Mode.OBSERVE), Hold()).schemes
    assert (seen.action, seen.pattern.age_min_us) == (Action.PAGEOUT, 3_600 * S)


def test_people_are_told() -> None:
    none = Forecast(None, "over_budget_everywhere", "", 0)
    assert _auto_age(none) == (
        "age: auto has found none yet (over_budget_everywhere): nothing is paged out"
    )
    assert _auto_age(replace(none, age_us=120 * S)) == "age: auto is 2m"
    assert "more would come back than the budget allows" in "\n".join(_forecast(none, "enforce"))


@dataclass(slots=True)
class FakeMonitor:
    """Serves the one policy, and answers whenever it is asked."""

    pid: int | None = 4711
    report: Report = field(default_factory=lambda: Report(0))
    failure: str = ""
    retry_us: int | None = None
    works: tuple[Work, ...] = ()
    asked: list[bool] = field(default_factory=list)
    seconds: float = 0.0

    def order(self, works: Sequence[Work], _now_us: int) -> None:
        self.works = tuple(works)

    def ask(self, _now_us: int, *, snapshots: bool = False) -> int:
        self.asked.append(snapshots)
        shown = snapshot(region(20, 5, 0), region(0, self.seconds, 64 * MIB)) if snapshots else None
        contexts = tuple(
            ContextReport(work.policy.name, probe="pte", granularity="page", targets=1,
                          schemes=(SchemeStats(),), snapshot=shown)
            for work in self.works
        )  # fmt: skip
        self.report = Report(len(self.asked), contexts)
        return len(self.asked)

    def receive(self, _now_us: int) -> bool:
        return True

    def inquire(self, now_us: int) -> Report | None:
        self.ask(now_us, snapshots=True)
        return self.report

    def silent_us(self, _now_us: int) -> int:
        return 0

    def fileno(self) -> None:
        return None


def test_in_user_space_it_is_found_out_as_well(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.engine.world.spawn("work")
    bench.put(AUTO.replace("spec:", "spec:\n  backend: userspace", 1))
    monitor = FakeMonitor()
    bench.engine.core.seating.link = monitor  # type: ignore[assignment]
    core = bench.engine.core
    with running(bench.engine):
        bench.engine.reloads(1)
        monitor.ask(0)
        core.reconcile()
        assert bench.state("auto") is PolicyState.ACTIVE
        assert monitor.works[0].policy.schemes[0].action is Action.STAT
        for _ in range(70):
            bench.engine.world.advance(AUTO_US / S)
            monitor.seconds += AUTO_US / S
            assert not core.forecast()  # the answer comes later
            if core.hear_monitor():
                core.reconcile()
        scheme = monitor.works[0].policy.schemes[0]
        assert (scheme.action, scheme.pattern.age_min_us) == (Action.PAGEOUT, 10 * S)
        assert bench.status("auto").forecast.age_us == 10 * S
        assert len(core.regions("auto").regions) == 2
        assert monitor.asked.count(True) >= 70  # each look asked for regions
