"""The reconciler on a simulated machine: states, drift, failures, adoption."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from damos_agent.model.errors import KernelError
from damos_agent.model.policy import (
    BackendChoice,
    Filter,
    FilterType,
    Mode,
    PhysicalTarget,
    Policy,
    ProcessTarget,
)
from damos_agent.model.settings import DamonStat, DriftAction, Settings
from damos_agent.model.status import PolicyState
from tests.agent.world import World
from tests.kernel.desk import reclaim, with_quota
from tests.sim.errors import Crash


def test_states_say_where_each_policy_stands() -> None:
    """Active, observing, waiting, unsupported: each with its reason."""
    world = World()
    pid = world.spawn()
    watching = replace(reclaim("watch", world.spawn()), mode=Mode.OBSERVE)
    absent = replace(reclaim("absent"), target=ProcessTarget(exe="nothing"))
    later = replace(reclaim("later", pid), backend=BackendChoice.USERSPACE)
    done = world.go(reclaim("acts", pid), watching, absent, later)
    states = {name: standing.state for name, standing in done.standings.items()}
    assert states == {
        "acts": PolicyState.ACTIVE,
        "watch": PolicyState.OBSERVING,
        "absent": PolicyState.WAITING,
        "later": PolicyState.UNSUPPORTED,
    }
    assert "exe=nothing" in done.standings["absent"].reason
    assert "backend userspace" in done.standings["later"].reason


def test_a_second_round_writes_nothing() -> None:
    """In sync."""
    world = World()
    policy = reclaim("a", world.spawn())
    world.go(policy)
    writes = len(world.damon.log)
    assert world.go(policy).plan.empty
    assert len(world.damon.log) == writes


def test_a_restarted_agent_adopts() -> None:
    """The kdamond of before goes on; nothing is written."""
    world = World()
    policy = reclaim("a", world.spawn())
    world.go(policy)
    pid, writes = world.saved.slots[0].kdamond_pid, len(world.damon.log)
    world.restart()
    assert world.events("kdamond_adopted")
    world.go(policy)
    assert world.saved.slots[0].kdamond_pid == pid
    assert len(world.damon.log) == writes


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_an_agent_killed_at_any_write_is_succeeded(cut: int) -> None:
    """Whatever the old agent had done, the new one ends in the same place, with one kdamond."""
    world = World()
    policy = reclaim("a", world.spawn())
    world.damon.fail_after(cut)
    try:
        world.go(policy)
    except Crash:
        world.restart()
        world.go(policy)
    assert world.go(policy).plan.empty
    assert [slot for slot in range(16) if world.damon.running(slot)] == [0]


def test_an_agent_of_another_boot_owns_nothing() -> None:
    """The ledger of an earlier boot names nobody's kdamonds."""
    world = World()
    world.go(reclaim("a", world.spawn()))
    world.machine.files["/proc/sys/kernel/random/boot_id"] = "other\n"
    world.restart()
    done = world.go(reclaim("a", world.spawn()))
    assert done.standings["a"].state is PolicyState.UNSUPPORTED
    assert world.damon.running(0)


def test_drift_is_reasserted_by_default() -> None:
    """An edit from outside is told once and put back."""
    world = World()
    policy = reclaim("a", world.spawn())
    world.go(policy)
    path = f"{world.damon.root}/kdamonds/0/contexts/0/schemes/0/quotas/bytes"
    world.damon.foreign_write(path, "4096")
    world.damon.foreign_write(f"{world.damon.root}/kdamonds/0/state", "commit")
    done = world.go(policy)
    assert done.standings["a"].state is PolicyState.ACTIVE
    assert world.damon.running(0)["schemes/0/quotas/bytes"] == str(100 << 20)
    (event,) = world.events("drift_detected")
    assert event["differences"] == [
        "contexts/0/schemes/0/quotas/bytes: found 4096, wanted 104857600"
    ]
    assert world.reconciler.drift_counts == {"a": 1}


@pytest.mark.parametrize("action", [DriftAction.YIELD, DriftAction.ALERT])
def test_drift_may_be_let_be(action: DriftAction) -> None:
    """Told once, not touched; editing the policy takes it back."""
    world = World(settings=Settings(drift=action))
    policy = reclaim("a", world.spawn())
    world.go(policy)
    base = f"{world.damon.root}/kdamonds/0"
    world.damon.foreign_write(f"{base}/state", "off")
    writes = len(world.damon.log)
    for _ in range(3):
        assert world.go(policy).standings["a"].state is PolicyState.DRIFTED
    assert len(world.damon.log) == writes
    assert len(world.events("drift_detected")) == 1
    assert world.go(with_quota(policy, 5 << 20)).standings["a"].state is PolicyState.ACTIVE
    assert world.damon.running(0)


def test_alert_ends_when_the_kernel_matches_again() -> None:
    """`alert` only tells: back in line means active; `yield` stays hands-off."""
    for action, state in (
        (DriftAction.ALERT, PolicyState.ACTIVE),
        (DriftAction.YIELD, PolicyState.DRIFTED),
    ):
        world = World(settings=Settings(drift=action))
        policy = reclaim("a", world.spawn())
        world.go(policy)
        path = f"{world.damon.root}/kdamonds/0/contexts/0/schemes/0/quotas/bytes"
        world.damon.foreign_write(path, "4096")
        assert world.go(policy).standings["a"].state is PolicyState.DRIFTED
        world.damon.foreign_write(path, str(100 << 20))
        assert world.go(policy).standings["a"].state is state


def test_a_refused_policy_fails_alone_and_is_tried_again() -> None:
    """One policy's error leaves the other running; it waits, then heals."""
    world = World()
    world.go(reclaim("good", world.spawn()))
    bad = reclaim("new", world.spawn())
    world.damon.fail_after(0, errno.EINVAL)
    done = world.go(reclaim("good", 1001), bad)
    assert done.standings["new"].state is PolicyState.FAILED
    assert "EINVAL" in done.standings["new"].reason
    assert done.standings["good"].state is PolicyState.ACTIVE
    assert done.retry_us is not None
    writes = len(world.damon.log)
    world.go(reclaim("good", 1001), bad)
    assert len(world.damon.log) == writes, "no retry before its time"
    world.advance(2)
    assert world.go(reclaim("good", 1001), bad).standings["new"].state is PolicyState.ACTIVE


def test_targets_come_and_go() -> None:
    """A new process joins by a commit; the last one's exit leaves the policy waiting."""
    world = World()
    policy = replace(reclaim("a"), target=ProcessTarget(exe="work"))
    first = world.spawn()
    world.go(policy)
    kdamond = world.saved.slots[0].kdamond_pid
    second = world.spawn()
    world.go(policy)
    world.kill(first)
    world.go(policy)
    assert world.saved.slots[0].kdamond_pid == kdamond
    assert world.damon.running(0)["targets/1/pid_target"] == str(second)
    told = [(event["added"], event["removed"]) for event in world.events("targets_changed")]
    assert told == [([second], []), ([], [first])]
    world.kill(second)
    assert world.go(policy).standings["a"].state is PolicyState.WAITING
    assert not world.events("drift_detected")


def test_release_gives_everything_back() -> None:
    """On stop: kdamonds off, slots gone, DAMON_STAT as it was, also after a crash in between."""
    world = World(modules=("stat",), settings=Settings(damon_stat=DamonStat.SUSPEND))
    world.go(reclaim("a", world.spawn()))
    assert world.events("module_suspended")
    world.restart()
    world.go(reclaim("a", world.spawn()))
    world.reconciler.release(world.settings)
    assert world.damon.read(f"{world.damon.root}/kdamonds/nr_kdamonds").strip() == "0"
    assert world.damon.read("/sys/module/damon_stat/parameters/enabled").strip() == "Y"
    assert world.saved.slots == {}


def test_release_stops_the_rest_when_one_cannot_be_stopped() -> None:
    """The error is raised at the end; another try gives back what was left."""
    world = World()
    world.go(reclaim("a", world.spawn()), reclaim("b", world.spawn()))
    world.damon.fail_after(0, errno.EINVAL)
    with pytest.raises(KernelError, match="EINVAL"):
        world.reconciler.release(world.settings)
    states = [world.damon.read(f"{world.damon.root}/kdamonds/{n}/state").strip() for n in (0, 1)]
    assert states == ["on", "off"]
    world.reconciler.release(world.settings)
    assert world.saved.slots == {}


def test_a_kdamond_stopped_in_the_middle_of_a_commit_stays_ours() -> None:
    """Before 6.15 that looks like a refused commit: started again, owned, and tried again."""
    world = World("6.12")
    policy = reclaim("a", world.spawn())
    world.go(policy)
    first = world.saved.slots[0].kdamond_pid
    state = f"{world.damon.root}/kdamonds/0/state"
    stops = ["off"]

    def somebody_stops_it(_seconds: float) -> None:
        if stops:
            world.damon.foreign_write(state, stops.pop())

    world.restart(sleep=somebody_stops_it, settle_s=0.1)
    # Somebody's edit, so that neither digest nor thread are those that were recorded.
    world.damon.foreign_write(
        f"{world.damon.root}/kdamonds/0/contexts/0/schemes/0/quotas/bytes", "4096"
    )
    assert world.go(policy).standings["a"].state is PolicyState.FAILED
    assert world.damon.read(state).strip() == "on"
    world.advance(5)
    assert world.go(policy).standings["a"].state is PolicyState.ACTIVE
    assert world.damon.running(0)["schemes/0/quotas/bytes"] == str(100 << 20)
    assert world.saved.slots[0].kdamond_pid != first
    assert world.reconciler.drift_counts == {"a": 1}
    assert not world.events("foreign_kdamond_found")


def test_a_kdamond_somebody_restarted_stays_ours() -> None:
    """Off and on between two rounds: same contents, another thread."""
    world = World()
    policy = reclaim("a", world.spawn())
    world.go(policy)
    state = f"{world.damon.root}/kdamonds/0/state"
    world.damon.foreign_write(state, "off")
    world.damon.foreign_write(state, "on")
    world.go(policy)
    path = f"{world.damon.root}/kdamonds/0/contexts/0/schemes/0/quotas/bytes"
    world.damon.foreign_write(path, "4096")
    assert world.go(policy).standings["a"].state is PolicyState.ACTIVE
    assert not world.events("foreign_kdamond_found")


def test_a_start_that_failed_is_no_drift() -> None:
    """What never ran was not stopped by anybody."""
    world = World()
    policy = reclaim("a", world.spawn())
    world.damon.fail_after(10, errno.EINVAL)
    assert world.go(policy).standings["a"].state is PolicyState.FAILED
    world.advance(5)
    assert world.go(policy).standings["a"].state is PolicyState.ACTIVE
    assert not world.events("drift_detected")


def spare(policy: Policy, index: int, *, allow: bool = False) -> Policy:
    """The same policy with a filter for the index-th of its processes."""
    item = Filter(FilterType.TARGET, allow=allow, target_index=index)
    return replace(policy, schemes=(replace(policy.schemes[0], filters=(item,)),))


def spared(world: World) -> str:
    """The pid that the running target filter names; empty: nobody's."""
    tree = world.damon.running(0)
    filters = next(p for p in tree if p.endswith("damon_target_idx"))
    return tree.get(f"targets/{tree[filters]}/pid_target", "")


@pytest.mark.parametrize("kernel", ["6.12", "7.3"])
def test_a_target_filter_means_the_process_at_that_place_of_the_list(kernel: str) -> None:
    """Targets sit in the order in which they started; the list may say otherwise."""
    world = World(kernel=kernel)
    older, newer = world.spawn(), world.spawn()
    world.go(spare(reclaim("a", newer, older), 0))
    assert spared(world) == str(newer)


@pytest.mark.parametrize("kernel", ["6.12", "7.3"])
@pytest.mark.parametrize("allow", [False, True])
def test_a_target_filter_whose_process_is_gone_means_nobody(kernel: str, allow: bool) -> None:
    """Not whoever moved up, neither at the start nor later."""
    world = World(kernel=kernel)
    gone, other, third = world.spawn(), world.spawn(), world.spawn()
    policy = spare(reclaim("a", other, gone, third), 1, allow=allow)
    world.go(policy)
    assert spared(world) == str(gone)
    world.kill(gone)
    world.go(policy)
    assert spared(world) == ""
    world.kill(other)
    world.go(policy)
    assert spared(world) == ""
    assert world.go(policy).plan.empty


def test_a_target_filter_finds_its_process_when_the_list_is_edited() -> None:
    """Those that stay keep their index in the kernel, and with it their ages."""
    world = World()
    one, two = world.spawn(), world.spawn()
    world.go(spare(reclaim("a", one, two), 1))
    world.go(spare(reclaim("a", two, one), 1))
    assert spared(world) == str(one)
    assert world.damon.running(0)["targets/0/pid_target"] == str(one)


def restarted(policy: Policy) -> Policy:
    """The same on physical memory: another operation set, so the kdamond is restarted."""
    return replace(policy, target=PhysicalTarget())


def retuned(policy: Policy) -> Policy:
    """An edit of several fields, by one commit."""
    edited = with_quota(policy, 9 << 20)
    return replace(edited, monitoring=replace(edited.monitoring, max_regions=77))


@pytest.mark.parametrize("kernel", ["6.12", "7.3"])
@pytest.mark.parametrize("drift", list(DriftAction))
@pytest.mark.parametrize("change", [None, restarted, retuned])
def test_killed_after_any_write_the_next_agent_finishes_what_was_begun(
    kernel: str, drift: DriftAction, change: Callable[[Policy], Policy] | None
) -> None:
    """Start, restart and edit: what is half done is our own, no drift and nobody else's."""
    for cut in itertools.count(1):
        world = World(kernel=kernel, settings=Settings(drift=drift))
        other = reclaim("other", world.spawn())
        policy = reclaim("a", world.spawn())
        if change is not None:
            for _ in range(3):
                world.go(policy, other)
                world.advance(3)
            policy = change(policy)
        world.damon.fail_after(cut)
        try:
            world.go(policy, other)
        except Crash:
            finished = False
        else:
            finished = True
        world.damon.fail_after(1_000_000)
        world.restart()
        for _ in range(3):
            done = world.go(policy, other)
            world.advance(3)
        states = {name: standing.state for name, standing in done.standings.items()}
        assert states == dict.fromkeys(("a", "other"), PolicyState.ACTIVE), cut
        assert not world.events("drift_detected"), cut
        assert not world.events("foreign_kdamond_found"), cut
        running = [index for index in range(world.settings.slots) if world.damon.running(index)]
        assert len(running) == 2, cut
        assert world.go(policy, other).plan.empty
        assert world.reconciler.release(world.settings) == 2
        if finished:
            return


@pytest.mark.parametrize("count", [1, 2])
def test_a_slot_that_somebody_made_his_own_is_left_to_him(count: int) -> None:
    """Turned off, rewritten, turned on: not ours, while it runs, whatever else we run."""
    world = World()
    policies = [reclaim(f"p{index}", world.spawn()) for index in range(count)]
    for _ in range(3):
        world.go(*policies)
        world.advance(3)
    base = f"{world.damon.root}/kdamonds/0"
    world.damon.foreign_write(f"{base}/state", "off")
    world.damon.foreign_write(f"{base}/contexts/0/schemes/0/quotas/bytes", "12345")
    world.damon.foreign_write(f"{base}/state", "on")
    before = len(world.damon.log)
    for _ in range(3):
        done = world.go(*policies)
        world.advance(3)
    assert not [path for path, _ in world.damon.log[before:] if path.startswith(base)]
    assert not world.events("drift_detected")
    assert len(world.events("foreign_kdamond_found")) == 1
    state = done.standings["p0"].state
    # Beside others of ours there are more slots; alone, the pool may be theirs altogether.
    assert state is (PolicyState.ACTIVE if count == 2 else PolicyState.UNSUPPORTED)

    world.damon.foreign_write(f"{base}/state", "off")
    for _ in range(2):
        done = world.go(*policies)
        world.advance(3)
    assert {s.state for s in done.standings.values()} == {PolicyState.ACTIVE}
    assert world.reconciler.release(world.settings) == count
    assert world.machine.read(f"{world.damon.root}/kdamonds/nr_kdamonds").strip() == "0"
