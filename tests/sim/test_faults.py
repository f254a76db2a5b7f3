"""Fault injection and the tests' view of the tree."""

from __future__ import annotations

import errno

import pytest

from tests.sim.damon import SimulatedDamon
from tests.sim.errors import Crash
from tests.sim.subject import CONTEXT, SCHEME, STATE, TARGET, simulated

NR = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds"


def test_a_crash_strikes_after_the_write_took_effect() -> None:
    damon = SimulatedDamon()
    damon.fail_after(2)
    damon.write(NR, "1")
    with pytest.raises(Crash):
        damon.write(NR, "2")
    assert damon.read(NR) == "2\n"
    assert damon.log == [(NR, "1"), (NR, "2")]
    damon.write(NR, "3")
    assert damon.read(NR) == "3\n"


def test_a_crash_before_the_first_write() -> None:
    damon = SimulatedDamon()
    damon.fail_after(0)
    with pytest.raises(Crash):
        damon.write(NR, "1")
    assert damon.read(NR) == "0\n"


def test_no_handler_of_errors_catches_a_crash() -> None:
    assert not issubclass(Crash, Exception)


def test_a_refusal_strikes_instead_of_the_next_write_and_once() -> None:
    damon = SimulatedDamon()
    damon.fail_after(1, errno.EIO)
    damon.write(NR, "1")
    with pytest.raises(OSError, match="nr_kdamonds") as refused:
        damon.write(NR, "2")
    assert refused.value.errno == errno.EIO
    assert damon.read(NR) == "1\n"
    damon.write(NR, "2")
    assert damon.log == [(NR, "1"), (NR, "2")]


def test_refused_writes_are_neither_counted_nor_logged() -> None:
    damon = SimulatedDamon()
    damon.fail_after(1)
    with pytest.raises(OSError, match="Invalid"):
        damon.write(NR, "x")
    assert damon.log == []
    with pytest.raises(Crash):
        damon.write(NR, "1")


def test_a_foreign_write_is_neither_counted_nor_logged() -> None:
    damon = SimulatedDamon()
    damon.fail_after(1)
    damon.foreign_write(NR, "2")
    assert (damon.read(NR), damon.log) == ("2\n", [])
    with pytest.raises(OSError, match="Invalid"):
        damon.foreign_write(NR, "-1")


def test_the_lock_is_busy_as_often_as_asked_and_only_where_it_is_taken() -> None:
    subject = simulated("7.3")
    subject.stage()
    assert isinstance(subject.fs, SimulatedDamon)
    damon = subject.fs
    damon.busy_times(4)
    assert subject.refusal(f"{SCHEME}/quotas/bytes", 1) == 0
    assert subject.refusal("kdamonds/nr_kdamonds", "x") == errno.EINVAL
    assert subject.refusal("kdamonds/nr_kdamonds", 1) == errno.EBUSY
    assert subject.refusal(STATE, "off") == errno.EBUSY
    for path in (STATE, "kdamonds/0/pid"):
        with pytest.raises(OSError, match="busy"):
            subject.get(path)
    assert subject.get(STATE) == "off"


def test_running_is_a_copy_of_what_was_staged() -> None:
    subject = simulated("7.3")
    damon = subject.fs
    assert isinstance(damon, SimulatedDamon)
    subject.stage(damon.spawn())
    subject.put(f"{SCHEME}/quotas/bytes", 4096)
    subject.put(f"{SCHEME}/access_pattern/age/min", (1 << 32) + 5)
    assert damon.running() == {}
    subject.put(STATE, "on")
    assert damon.running()["schemes/0/quotas/bytes"] == "4096"
    assert damon.running()["schemes/0/access_pattern/age/min"] == "5"
    subject.put(f"{SCHEME}/quotas/bytes", 8192)
    assert damon.running()["schemes/0/quotas/bytes"] == "4096"
    subject.put(STATE, "commit")
    assert damon.running()["schemes/0/quotas/bytes"] == "8192"
    subject.put(STATE, "off")
    assert damon.running() == {}


def test_committing_goals_takes_over_nothing_else() -> None:
    subject = simulated("7.3")
    damon = subject.fs
    assert isinstance(damon, SimulatedDamon)
    subject.stage(damon.spawn())
    subject.put(f"{SCHEME}/quotas/goals/nr_goals", 1)
    subject.put(STATE, "on")
    subject.put(f"{SCHEME}/quotas/bytes", 8192)
    subject.put(f"{SCHEME}/quotas/goals/0/target_value", 9)
    subject.put(STATE, "commit_schemes_quota_goals")
    assert damon.running()["schemes/0/quotas/bytes"] == "0"
    assert damon.running()["schemes/0/quotas/goals/0/target_value"] == "9"


def test_a_commit_leaves_obsolete_targets_out_of_what_runs() -> None:
    subject = simulated("6.19")
    damon = subject.fs
    assert isinstance(damon, SimulatedDamon)
    subject.stage()
    subject.put(f"{CONTEXT}/targets/nr_targets", 2)
    subject.put(f"{TARGET}/pid_target", 2)
    subject.put(f"{CONTEXT}/targets/1/pid_target", 1)
    subject.put(STATE, "on")
    subject.put(f"{TARGET}/obsolete_target", "Y")
    subject.put(STATE, "commit")
    assert damon.running()["targets/nr_targets"] == "1"
    assert damon.running()["targets/0/pid_target"] == "1"
    assert len(damon.regions(0, 0)) > 0


def test_situations_are_equal_after_different_ways_to_the_same_end() -> None:
    first, second = simulated("7.3"), simulated("7.3")
    for subject, detours in ((first, 0), (second, 3)):
        subject.stage(2)
        for _ in range(detours):
            subject.put(STATE, "on")
            subject.put(STATE, "off")
        subject.put(STATE, "on")
    one, two = first.fs, second.fs
    assert isinstance(one, SimulatedDamon)
    assert isinstance(two, SimulatedDamon)
    assert one.situation() == two.situation()
    assert one.snapshot() != two.snapshot()
    second.put(f"{SCHEME}/quotas/bytes", 1)
    assert one.situation() != two.situation()


def test_a_relocated_root() -> None:
    damon = SimulatedDamon(root="/host/sys/kernel/mm/damon/admin")
    damon.write("/host/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds", "1")
    assert damon.exists("/host/sys/module/damon_stat/parameters/enabled")
    assert not damon.exists(NR)
    assert damon.listdir("/host/sys/kernel/mm/damon") == ["admin"]


@pytest.mark.parametrize(("lies", "code"), [(True, 0), (False, errno.EINVAL)])
def test_lying_commits_can_be_chosen(lies: bool, code: int) -> None:
    subject = simulated("6.12")
    subject.fs = damon = SimulatedDamon("6.12", commit_lies=lies)
    subject.stage(damon.spawn())
    subject.put(STATE, "on")
    subject.put(f"{TARGET}/pid_target", 99999)
    assert subject.refusal(STATE, "commit") == code
    assert subject.get(STATE) == ("off" if lies else "on")
