"""Two backends, one agent: who serves which policy, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from damos_agent.agent.reconciler import Round, Standing
from damos_agent.agent.seating import NO_MONITOR, STARTING, Seating
from damos_agent.algo.choose import FIRST_HOLD_US
from damos_agent.model.damon import SchemeStats
from damos_agent.model.policy import (
    Action,
    BackendChoice,
    Goal,
    GoalMetric,
    Mode,
    Policy,
    ProcessTarget,
    Quota,
    Scheme,
)
from damos_agent.model.status import Fallback, PolicyState
from damos_agent.model.userspace import ContextReport, Report, Work
from tests.agent.world import World
from tests.kernel.desk import reclaim

UP = Scheme(Action.LRU_PRIO)


@dataclass(slots=True)
class FakeLink:
    """A monitor process that says what a test wants."""

    pid: int | None = 4711
    report: Report = field(default_factory=lambda: Report(0))
    failure: str = ""
    retry_us: int | None = None
    works: tuple[Work, ...] = ()
    history: list[tuple[str, ...]] = field(default_factory=list)

    def order(self, works: Sequence[Work], now_us: int) -> None:
        self.works = tuple(works)
        self.history.append(tuple(work.policy.name for work in works))

    def says(self, *contexts: ContextReport) -> None:
        self.report = Report(1, contexts)

    def close(self) -> None:
        self.works = ()


@dataclass(slots=True)
class Table:
    """A world with both backends."""

    world: World
    link: FakeLink = field(default_factory=FakeLink)
    seating: Seating = field(init=False)

    def __post_init__(self) -> None:
        logger = structlog.wrap_logger(None, processors=[self.world.log])
        self.seating = Seating(self.world.reconciler, self.link, logger)  # type: ignore[arg-type]

    def go(self, *policies: Policy) -> Round:
        known = {policy.name: policy for policy in policies}
        return self.seating.reconcile(known, self.world.settings)


def stands(done: Round, name: str) -> Standing:
    return done.standings[name]


def no_damon() -> Table:
    """A kernel that has none."""
    return Table(World("5.15"))


def foreign() -> Table:
    """Somebody else runs a kdamond."""
    world = World()
    world.damon.write("/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds", "1")
    return Table(world)


def test_with_damon_the_monitor_is_never_started() -> None:
    table = Table(World())
    done = table.go(reclaim("a", table.world.spawn()))

    assert stands(done, "a").state is PolicyState.ACTIVE
    assert set(table.link.history) == {()}


def test_without_damon_the_monitor_serves_and_the_reason_is_told() -> None:
    table = no_damon()
    pid = table.world.spawn()
    policy = reclaim("a", pid)
    done = table.go(policy)

    assert stands(done, "a") == Standing(PolicyState.WAITING, STARTING)
    assert [(work.policy.name, work.processes[0].pid) for work in table.link.works] == [("a", pid)]
    (event,) = table.world.events("backend_changed")
    assert event["backend"] == "userspace"
    assert "DAMON" in str(event["reason"])

    table.link.says(ContextReport("a", probe="vma", granularity="mapping", targets=1))
    assert stands(table.go(policy), "a") == Standing(PolicyState.ACTIVE)
    assert len(table.world.events("backend_changed")) == 1


def test_a_single_round_says_whether_user_space_could_serve() -> None:
    """--once and --dry-run start no monitor: told from what no backend can do."""
    table = no_damon()
    table.seating.link = None
    pid = table.world.spawn()
    done = table.go(reclaim("a", pid), replace(reclaim("b", pid), schemes=(UP,)))

    for name, reason in (("a", NO_MONITOR), ("b", "lru_prio")):
        assert stands(done, name).state is PolicyState.UNSUPPORTED
        assert reason in stands(done, name).reason
    assert NO_MONITOR not in stands(done, "b").reason


def test_observing_is_told_apart() -> None:
    table = no_damon()
    policy = replace(reclaim("a", table.world.spawn()), mode=Mode.OBSERVE)
    table.link.says(ContextReport("a", probe="vma"))

    assert stands(table.go(policy), "a").state is PolicyState.OBSERVING


def test_what_the_monitor_refuses_is_unsupported_with_both_reasons() -> None:
    table = no_damon()
    policy = reclaim("a", table.world.spawn())
    table.go(policy)
    table.link.says(ContextReport("a", refused="no probe works"))

    standing = stands(table.go(policy), "a")

    assert standing.state is PolicyState.UNSUPPORTED
    assert "user space: no probe works" in standing.reason
    assert "kernel: " in standing.reason
    # It may become possible: the monitor still knows of it.
    assert [work.policy.name for work in table.link.works] == ["a"]


def test_a_monitor_that_ended_is_a_failure_that_is_retried() -> None:
    table = no_damon()
    policy = reclaim("a", table.world.spawn())
    table.go(policy)
    table.link.failure, table.link.retry_us = "the monitor process ended: killed", 123

    done = table.go(policy)

    assert stands(done, "a") == Standing(PolicyState.FAILED, table.link.failure)
    assert done.retry_us == 123


def test_a_policy_that_insists_on_the_kernel_does_not_fall_back() -> None:
    table = no_damon()
    done = table.go(replace(reclaim("a", table.world.spawn()), backend=BackendChoice.KERNEL))

    assert stands(done, "a").state is PolicyState.UNSUPPORTED
    assert table.link.works == ()


def test_a_policy_that_insists_on_user_space_leaves_the_kernel_alone() -> None:
    table = Table(World())
    done = table.go(replace(reclaim("a", table.world.spawn()), backend=BackendChoice.USERSPACE))

    assert stands(done, "a").state is PolicyState.WAITING
    assert [work.policy.name for work in table.link.works] == ["a"]
    assert table.world.damon.log == []


def test_what_user_space_cannot_do_is_said_beside_what_the_kernel_cannot() -> None:
    table = no_damon()
    policy = reclaim("a", table.world.spawn())
    policy = replace(policy, schemes=(replace(policy.schemes[0], action=Action.NOHUGEPAGE),))

    standing = stands(table.go(policy), "a")

    assert standing.state is PolicyState.UNSUPPORTED
    assert "nohugepage" in standing.reason
    assert table.link.works == ()


def test_a_policy_without_processes_waits_and_starts_nothing() -> None:
    table = no_damon()
    policy = replace(reclaim("a"), target=ProcessTarget(exe="nothing"))

    assert stands(table.go(policy), "a").state is PolicyState.WAITING
    assert table.link.works == ()


def test_one_that_lost_its_processes_keeps_its_counters() -> None:
    table = no_damon()
    pid = table.world.spawn("work")
    policy = replace(reclaim("a"), target=ProcessTarget(exe="work"))
    table.go(policy)
    table.world.kill(pid)

    done = table.go(policy)

    assert stands(done, "a").state is PolicyState.WAITING
    assert [(work.policy.name, work.processes) for work in table.link.works] == [("a", ())]


def test_beside_a_foreign_kdamond_user_space_serves_and_nothing_is_written() -> None:
    table = foreign()
    before = len(table.world.damon.log)
    policy = reclaim("a", table.world.spawn())
    table.link.says(ContextReport("a", probe="vma"))

    assert stands(table.go(policy), "a").state is PolicyState.ACTIVE
    assert "somebody else" in table.seating.seats["a"].reason
    assert len(table.world.damon.log) == before


def test_it_moves_to_the_kernel_once_that_was_free_for_a_while() -> None:
    """First user space lets go, then a kdamond starts."""
    table = foreign()
    policy = reclaim("a", table.world.spawn())
    table.link.says(ContextReport("a", probe="vma"))
    table.go(policy)
    table.world.damon.write("/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds", "0")

    waiting = table.go(policy)
    assert stands(waiting, "a").state is PolicyState.ACTIVE
    assert table.link.works
    assert waiting.retry_us is not None

    table.world.advance(FIRST_HOLD_US / 1e6 + 1)
    done = table.go(policy)

    assert stands(done, "a").slot >= 0
    assert table.link.works == ()
    assert table.world.events("backend_changed")[-1]["backend"] == "kernel"


def test_it_moves_to_user_space_when_the_kernel_is_lost() -> None:
    table = Table(World())
    policy = reclaim("a", table.world.spawn())
    table.go(policy)
    for path in ("0/state", "nr_kdamonds"):  # somebody else tears our pool down
        word = "off" if path.endswith("state") else "2"
        table.world.damon.write(f"/sys/kernel/mm/damon/admin/kdamonds/{path}", word)

    table.go(policy)

    assert [work.policy.name for work in table.link.works] == ["a"]
    assert table.seating.seats["a"].losses == 1


def test_the_monitor_itself_is_no_target() -> None:
    table = no_damon()
    pid = table.world.spawn("work")
    table.link.pid = table.world.spawn("work")
    policy = replace(reclaim("a"), target=ProcessTarget(exe="work"))
    table.go(policy)

    assert [p.pid for p in table.link.works[0].processes] == [pid]


def test_a_probe_is_told_once_and_again_when_it_changes() -> None:
    table = no_damon()
    policy = reclaim("a", table.world.spawn())
    table.go(policy)
    for probe in ("vma", "vma", "page_idle"):
        table.link.says(ContextReport("a", probe=probe, schemes=(SchemeStats(),)))
        table.seating.tell_probes()

    assert [e["probe"] for e in table.world.events("probe_selected")] == ["vma", "page_idle"]


def test_why_not_in_the_kernel_is_told_in_one_word_for_metrics() -> None:
    """From what is known of the machine, never from the sentence."""
    found = {}
    tables = {"none": no_damon(), "foreign": foreign()}
    tables |= {"asked": Table(World()), "excluded": Table(World(modules=("reclaim",)))}
    for name, table in tables.items():
        backend = BackendChoice.USERSPACE if name == "asked" else BackendChoice.AUTO
        table.go(replace(reclaim("a", table.world.spawn()), backend=backend))
        found[name] = table.seating.fallbacks["a"]

    assert found == {
        "none": Fallback.NO_DAMON,
        "foreign": Fallback.FOREIGN,
        "asked": Fallback.ASKED,
        "excluded": Fallback.EXCLUSIVE,
    }


def test_a_policy_the_kernel_cannot_do_and_one_too_many_are_told_apart() -> None:
    table = Table(World("6.12"))
    table.world.settings = replace(table.world.settings, slots=1)
    pid = table.world.spawn()
    goal = Goal(GoalMetric.NODE_MEM_FREE, 500, nid=0)
    scheme = reclaim("b", pid).schemes[0]
    aimed = replace(scheme, quota=Quota(interval_us=1_000_000, goals=(goal,)))
    odd = replace(reclaim("b", pid), schemes=(aimed,))
    table.go(reclaim("a", pid))
    table.go(reclaim("a", pid), odd, reclaim("c", pid))

    assert table.seating.fallbacks == {"b": Fallback.UNSUPPORTED, "c": Fallback.NO_SLOT}
    table.go(reclaim("a", pid))
    assert table.seating.fallbacks == {}


def test_the_word_stays_while_the_return_to_the_kernel_is_waited_for() -> None:
    table = foreign()
    policy = reclaim("a", table.world.spawn())
    table.link.says(ContextReport("a", probe="vma"))
    table.go(policy)
    table.world.damon.write("/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds", "0")
    table.go(policy)
    assert table.seating.fallbacks == {"a": Fallback.FOREIGN}

    table.world.advance(FIRST_HOLD_US / 1e6 + 1)
    table.go(policy)
    assert table.seating.fallbacks == {}
