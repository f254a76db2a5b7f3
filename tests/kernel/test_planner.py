"""The plan's laws, on simulated kernels of every kind we meet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from damos_agent.model.damon import Change, Command, Ledger, Placement, Write
from damos_agent.model.errors import KernelError, UnsupportedError
from damos_agent.model.policy import (
    Action,
    Filter,
    FilterType,
    Goal,
    GoalMetric,
    IntervalsGoal,
    Mode,
    PhysicalTarget,
    Policy,
    Quota,
    Scheme,
)
from tests.kernel.desk import Desk, reclaim, with_quota
from tests.sim.damon import SimulatedDamon
from tests.sim.errors import Crash

KERNELS = ("5.19", "6.1", "6.6", "6.12", "6.15", "6.18", "7.0", "7.3")


@pytest.fixture(params=KERNELS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(SimulatedDamon(request.param))


def test_in_sync_means_no_writes(desk: Desk) -> None:
    """Once applied, the same wish plans nothing."""
    policies = {"a": reclaim("a", desk.damon.spawn()), "b": reclaim("b", desk.damon.spawn())}
    assert desk.settle(policies, seconds=3) > 0
    written = len(desk.damon.log)
    for _ in range(3):
        assert desk.plan(policies).empty
    assert len(desk.damon.log) == written


def test_one_field_is_two_writes_and_keeps_the_kdamond(desk: Desk) -> None:
    """A quota edit writes the one file and commits; pid, regions and ages survive."""
    policy = reclaim("a", desk.damon.spawn())
    desk.settle({"a": policy}, seconds=3)
    desk.damon.advance(1)
    pid = desk.observe().slots[0].pid
    ages = [region.age for region in desk.damon.regions(0)]
    assert ages
    assert max(ages) > 0
    made = desk.plan({"a": with_quota(policy, 7 << 20)})
    (work,) = made.slots
    assert work.change is Change.COMMIT
    assert [type(step) for step in work.steps if isinstance(step, (Write, Command))] == [
        Write,
        Command,
    ]
    desk.apply(made)
    assert desk.observe().slots[0].pid == pid
    assert max(region.age for region in desk.damon.regions(0)) >= max(ages)
    assert desk.damon.running(0)["schemes/0/quotas/bytes"] == str(7 << 20)


def test_removal_stops_and_the_last_one_returns_the_pool(desk: Desk) -> None:
    """A removed policy's kdamond is off and its slot empty; without policies nothing is left."""
    policies = {"a": reclaim("a", desk.damon.spawn()), "b": reclaim("b", desk.damon.spawn())}
    desk.settle(policies, seconds=3)
    desk.settle({"b": policies["b"]})
    slots = desk.observe().slots
    assert [slot.running for slot in slots] == [False, True, False, False]
    assert slots[0].tree == {"contexts/nr_contexts": "0"}
    desk.settle({})
    assert desk.observe().slots == ()
    assert desk.saved == Ledger(boot_id="boot-1")


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_interruption_converges(kernel: str) -> None:
    """Killed after any single write, then planned again: the same tree, the same context runs."""

    def scenario(desk: Desk, upto: int) -> None:
        """Start two policies, then edit one, replace a process and remove the other."""
        stages = (first, second, third)
        for stage in stages[: upto + 1]:
            desk.settle(*stage, seconds=3)

    damon = SimulatedDamon(kernel)
    p, q, r = damon.spawn(), damon.spawn(), damon.spawn()
    base = reclaim("a", p, q)
    edited = replace(with_quota(base, 9 << 20), monitoring=replace(base.monitoring, max_regions=77))
    first = ({"a": base, "b": reclaim("b", q)}, {"a": (Placement(p, 1), Placement(q, 1))})
    second = ({"a": edited, "b": reclaim("b", q)}, {"a": (Placement(r, 1), Placement(q, 1))})
    third = ({"a": edited}, {"a": (Placement(r, 1), Placement(q, 1))})
    for upto in range(3):
        clean = Desk(SimulatedDamon(kernel))
        for _ in range(3):
            clean.damon.spawn()
        scenario(clean, upto)
        wanted = clean.damon.situation()
        writes = len(clean.damon.log)
        # The two kernels of the lab in full; the others differ little from their neighbours.
        for cut in range(1, writes + 1, 1 if kernel in ("6.12", "7.3") else 3):
            desk = Desk(SimulatedDamon(kernel))
            for _ in range(3):
                desk.damon.spawn()
            desk.damon.fail_after(cut)
            for _ in range(3):
                try:
                    scenario(desk, upto)
                except Crash:
                    continue
                break
            assert desk.damon.situation() == wanted, f"cut after write {cut} of {writes}"


def test_a_refused_write_leaves_the_old_context_and_the_old_staging(desk: Desk) -> None:
    """An error half-way: what runs and what is staged are as before, and the next round heals."""
    policy = reclaim("a", desk.damon.spawn())
    desk.settle({"a": policy}, seconds=3)
    before = desk.damon.situation()
    edited = replace(
        with_quota(policy, 9 << 20), monitoring=replace(policy.monitoring, max_regions=50)
    )
    for refused in range(2):
        desk.damon.fail_after(refused, 22)
        with pytest.raises(KernelError):
            desk.apply(desk.plan({"a": edited}))
        assert desk.damon.situation() == before
    desk.settle({"a": edited}, seconds=3)
    assert desk.damon.running(0)["monitoring_attrs/nr_regions/max"] == "50"


@pytest.mark.parametrize("kernel", [k for k in KERNELS if k not in ("5.19", "6.1")])
def test_a_commit_that_fails_leaves_the_old_context_running(kernel: str) -> None:
    """Also where the kernel lies (≤ 6.14) and ends the kdamond: the old one is started again.

    Before 6.3 there was no filter, so no scheme that only the kernel could refuse.
    """
    desk = Desk(SimulatedDamon(kernel))
    policy = Policy("p", PhysicalTarget(), (Scheme(Action.PAGEOUT),), mode=Mode.ENFORCE)
    desk.settle({"p": policy}, seconds=3)
    before = desk.damon.situation()
    bad = Filter(FilterType.MEMCG, allow=False, cgroup="/no/such/cgroup")
    worse = replace(policy, schemes=(replace(policy.schemes[0], filters=(bad,)),))
    with pytest.raises(KernelError):
        desk.apply(desk.plan({"p": worse}))
    assert desk.damon.situation() == before


def test_targets_that_stay_keep_their_index_and_ages(desk: Desk) -> None:
    """A process in the middle exits, another comes: neighbours keep their ages, no one inherits."""
    p, q, r = (desk.damon.spawn() for _ in range(3))
    policy = reclaim("a", p, q, r)
    at = {pid: Placement(pid, 1) for pid in (p, q, r)}
    desk.settle({"a": policy}, {"a": (at[p], at[q], at[r])}, seconds=3)
    desk.damon.advance(5)
    old = max(region.age for region in desk.damon.regions(0, 2))
    assert old >= 50
    desk.damon.kill(q)
    desk.settle({"a": policy}, {"a": (at[p], at[r])})
    assert desk.damon.running(0)["targets/1/pid_target"] == "2"
    assert max(region.age for region in desk.damon.regions(0, 2)) >= old
    new = Placement(desk.damon.spawn(), 5)
    desk.settle({"a": policy}, {"a": (at[p], at[r], new)})
    assert desk.damon.running(0)["targets/1/pid_target"] == str(new.pid)
    assert max(region.age for region in desk.damon.regions(0, 1)) == 0
    assert max(region.age for region in desk.damon.regions(0, 2)) >= old
    assert desk.plan({"a": policy}, {"a": (at[p], at[r], new)}).empty


def test_new_quotas_match_nothing_in_an_unlimited_first_window() -> None:
    """Before 6.18 the pattern comes only after one reset interval; from 6.18 on at once."""
    old = Desk(SimulatedDamon("6.12"))
    policies = {"a": reclaim("a", old.damon.spawn())}
    old.apply(old.plan(policies))
    assert old.damon.running(0)["schemes/0/access_pattern/sz/max"] == "0"
    old.damon.advance(0.5)
    assert old.plan(policies).empty
    old.damon.advance(1.0)
    old.apply(old.plan(policies))
    assert old.damon.running(0)["schemes/0/access_pattern/sz/max"] == str(2**64 - 1)
    assert old.plan(policies).empty
    new = Desk(SimulatedDamon("6.18"))
    new.apply(new.plan({"a": reclaim("a", new.damon.spawn())}))
    assert new.damon.running(0)["schemes/0/access_pattern/sz/max"] == str(2**64 - 1)


def test_observing_to_enforcing_keeps_the_kdamond(desk: Desk) -> None:
    """The mode is one commit away, in both directions."""
    policy = reclaim("a", desk.damon.spawn())
    watching = replace(policy, mode=Mode.OBSERVE)
    desk.settle({"a": watching}, seconds=3)
    pid = desk.observe().slots[0].pid
    assert desk.damon.running(0)["schemes/0/action"] == "stat"
    desk.settle({"a": policy}, seconds=3)
    assert desk.damon.running(0)["schemes/0/action"] == "pageout"
    assert desk.observe().slots[0].pid == pid


def test_foreign_kdamonds_are_never_touched(desk: Desk) -> None:
    """Somebody else's kdamond: nothing is written, every policy says why."""
    base = f"{desk.damon.root}/kdamonds"
    desk.damon.foreign_write(f"{base}/nr_kdamonds", "1")
    made = desk.plan({"a": reclaim("a", desk.damon.spawn())})
    assert made.empty
    assert "somebody else" in made.unsupported["a"]
    assert desk.damon.log == []


def test_a_foreign_kdamond_in_our_pool_stays_and_pins_the_pool(desk: Desk) -> None:
    """A slot that another tool turned on in our pool is neither used, stopped nor wiped."""
    policies = {"a": reclaim("a", desk.damon.spawn())}
    desk.settle(policies, seconds=3)
    base = f"{desk.damon.root}/kdamonds/1"
    for path, value in (
        ("contexts/nr_contexts", "1"),
        ("contexts/0/targets/nr_targets", "1"),
        ("contexts/0/targets/0/pid_target", str(desk.damon.spawn())),
        ("state", "on"),
    ):
        desk.damon.foreign_write(f"{base}/{path}", value)
    desk.settle(policies | {"b": reclaim("b", desk.damon.spawn())}, seconds=3)
    assert desk.damon.running(2)
    desk.settle({})
    slots = desk.observe().slots
    assert [slot.running for slot in slots] == [False, True, False, False]


def test_a_full_pool_is_said(desk: Desk) -> None:
    """More policies than slots: the rest are unsupported, with the way out."""
    desk.settle({"a": reclaim("a", desk.damon.spawn())}, seconds=3)
    many = {name: reclaim(name, desk.damon.spawn()) for name in "abcdef"}
    many["a"] = reclaim("a", 100)
    made = desk.plan(many, {name: (Placement(100, 1),) for name in many})
    assert set(made.unsupported) == {"e", "f"}
    assert "`slots`" in made.unsupported["e"]


def test_damon_stat_is_suspended_only_where_allowed_and_given_back() -> None:
    """DAMON_STAT excludes us: said, or switched off and on again on the way out."""
    desk = Desk(SimulatedDamon("7.3", modules_running={"stat"}))
    policies = {"a": reclaim("a", desk.damon.spawn())}
    refused = desk.plan(policies)
    assert refused.empty
    assert "DAMON_STAT" in refused.unsupported["a"]
    desk.suspend_stat = True
    desk.settle(policies)
    assert desk.observe().exclusive == ()
    assert desk.damon.running(0)
    desk.settle({})
    assert desk.observe().exclusive == ("damon_stat",)
    assert not desk.saved.suspended_damon_stat


def test_goal_feedback_uses_the_light_commit() -> None:
    """Only a goal's numbers changed: `commit_schemes_quota_goals`, nothing else is restarted."""
    desk = Desk(SimulatedDamon("7.3"))
    policy = reclaim("a", desk.damon.spawn())

    def fed(current: int) -> Policy:
        goal = Goal(GoalMetric.USER_INPUT, 1000, current)
        quota = Quota(size=1 << 20, goals=(goal,))
        return replace(policy, schemes=(replace(policy.schemes[0], quota=quota),))

    desk.settle({"a": fed(5)})
    made = desk.plan({"a": fed(900)})
    assert made.slots[0].change is Change.GOALS
    assert made.writes == 2
    desk.apply(made)
    assert desk.damon.running(0)["schemes/0/quotas/goals/0/current_value"] == "900"


def test_tuned_intervals_are_kept_by_a_commit_and_ages_follow_them() -> None:
    """With an intervals goal the kernel's intervals stay, and ages are counted in them."""
    desk = Desk(SimulatedDamon("7.3"))
    policy = reclaim("a", desk.damon.spawn())
    goal = IntervalsGoal(400, 3, 5_000, 10_000_000)
    policy = replace(policy, monitoring=replace(policy.monitoring, intervals_goal=goal))
    desk.settle({"a": policy})
    assert desk.damon.running(0)["schemes/0/access_pattern/age/min"] == "20"
    desk.damon.tune(0, 50_000, 1_000_000)
    desk.damon.write(f"{desk.damon.root}/kdamonds/0/state", "update_tuned_intervals")
    desk.settle({"a": policy})
    running = desk.damon.running(0)
    assert running["schemes/0/access_pattern/age/min"] == "2"
    assert running["monitoring_attrs/intervals/aggr_us"] == "1000000"


def test_a_little_tuning_is_no_reason_for_a_commit() -> None:
    """The tuner never comes to rest: within a quarter ages stay as they are, beyond they follow."""
    desk = Desk(SimulatedDamon("7.3"))
    policy = reclaim("a", desk.damon.spawn())
    goal = IntervalsGoal(400, 3, 5_000, 10_000_000)
    policy = replace(policy, monitoring=replace(policy.monitoring, intervals_goal=goal))
    desk.settle({"a": policy})
    state = f"{desk.damon.root}/kdamonds/0/state"
    desk.damon.tune(0, 6_000, 120_000)  # 2 s are 17 aggregations now, not 20
    desk.damon.write(state, "update_tuned_intervals")
    assert desk.plan({"a": policy}).empty
    desk.damon.tune(0, 8_000, 160_000)  # 13
    desk.damon.write(state, "update_tuned_intervals")
    made = desk.plan({"a": policy})
    assert [work.reason for work in made.slots] == ["schemes/0/access_pattern/age/min"]


def test_changing_the_kind_of_target_restarts_that_one_kdamond(desk: Desk) -> None:
    """The operation set cannot change by commit; the others' kdamonds go on."""
    other = reclaim("b", desk.damon.spawn())
    policy = reclaim("a", desk.damon.spawn())
    desk.settle({"a": policy, "b": other}, seconds=3)
    pids = [slot.pid for slot in desk.observe().slots]
    physical = replace(policy, target=PhysicalTarget())
    made = desk.plan({"a": physical, "b": other})
    assert [work.change for work in made.slots] == [Change.RESTART]
    desk.apply(made)
    assert desk.damon.running(0)["operations"] == "paddr"
    assert desk.observe().slots[1].pid == pids[1]


def test_what_the_kernel_lacks_is_named() -> None:
    """Unsupported names the feature and the release that brought it."""
    desk = Desk(SimulatedDamon("6.1"))
    policy = reclaim("a", desk.damon.spawn())
    quota = Quota(size=1, goals=(Goal(GoalMetric.MEMORY_PSI_SOME, 100),))
    policy = replace(policy, schemes=(replace(policy.schemes[0], quota=quota),))
    with pytest.raises(UnsupportedError, match=r"psi_goal.*6\.9"):
        desk.plan({"a": policy})


def test_busy_is_retried(desk: Desk) -> None:
    """EBUSY from DAMON's lock is waited out."""
    desk.damon.busy_times(3)
    desk.settle({"a": reclaim("a", desk.damon.spawn())}, seconds=3)
    assert desk.damon.running(0)
