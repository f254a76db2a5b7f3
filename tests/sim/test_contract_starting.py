"""The contract, second part: on, off, refusals, targets (see test_contract.py)."""

from __future__ import annotations

import errno

import pytest

from tests.sim.contract import KTHREADD, RANGE, at_least, staged_filter, staged_regions
from tests.sim.subject import CONTEXT, STATE, TARGET, Subject
from tests.sim.versions import behaviour


def test_on_and_off(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    assert (damon.get(STATE), damon.get("kdamonds/0/pid")) == ("off", "-1")
    damon.put(STATE, "on")
    assert damon.get(STATE) == "on"
    first = int(damon.get("kdamonds/0/pid"))
    assert first > 0
    assert damon.refusal(STATE, "on") == errno.EBUSY
    damon.put(STATE, "off")
    assert (damon.get(STATE), damon.get("kdamonds/0/pid")) == ("off", "-1")
    damon.put(STATE, "on\n")
    assert int(damon.get("kdamonds/0/pid")) != first


def test_nr_kdamonds_is_busy_while_one_runs(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    for count in (0, 1, 2):
        assert damon.refusal("kdamonds/nr_kdamonds", count) == errno.EBUSY
    assert damon.refusal("kdamonds/nr_kdamonds", "x") == errno.EINVAL
    damon.put(f"{CONTEXT}/schemes/nr_schemes", 2)
    damon.put(STATE, "off")
    damon.put("kdamonds/nr_kdamonds", 2)


@pytest.mark.parametrize("command", ["nonsense", "ON", "on ", "\n", "update_schemes_statsx"])
def test_unknown_commands(damon: Subject, command: str) -> None:
    damon.stage()
    assert damon.refusal(STATE, command) == errno.EINVAL


@pytest.mark.parametrize("command", ["off", "commit", "update_schemes_stats"])
def test_commands_before_the_first_start(damon: Subject, command: str) -> None:
    damon.stage()
    assert damon.refusal(STATE, command) == errno.EINVAL


def test_on_needs_a_context(damon: Subject) -> None:
    damon.put("kdamonds/nr_kdamonds", 1)
    assert damon.refusal(STATE, "on") == errno.EINVAL


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("monitoring_attrs/nr_regions/min", "2"),
        ("monitoring_attrs/nr_regions/max", "9"),
        ("targets/0/pid_target", "0"),
        ("targets/0/pid_target", "-1"),
        ("targets/0/pid_target", "4194304"),
    ],
)
def test_bad_contexts_do_not_start(damon: Subject, path: str, value: str) -> None:
    damon.stage(damon.world.spawn())
    damon.put(f"{CONTEXT}/{path}", value)
    assert damon.refusal(STATE, "on") == errno.EINVAL
    assert damon.get(STATE) == "off"
    assert damon.refusal(STATE, "off") == errno.EINVAL


def test_sampling_must_not_exceed_aggregation(damon: Subject) -> None:
    at_least(damon, 6, 12)
    damon.stage(damon.world.spawn())
    damon.put(f"{CONTEXT}/monitoring_attrs/intervals/sample_us", 50001)
    assert damon.refusal(STATE, "on") == errno.EINVAL


@pytest.mark.parametrize("goal", [(4000, 3, 6000, 5000), (4000, 3, 6000, 7000), (4000, 3, 1, 4999)])
def test_interval_goals_are_checked(damon: Subject, goal: tuple[int, ...]) -> None:
    at_least(damon, 6, 15)
    damon.stage(damon.world.spawn())
    base = f"{CONTEXT}/monitoring_attrs/intervals/intervals_goal"
    names = ("access_bp", "aggrs", "min_sample_us", "max_sample_us")
    for name, value in zip(names, goal, strict=True):
        damon.put(f"{base}/{name}", value)
    assert damon.refusal(STATE, "on") == errno.EINVAL
    damon.put(f"{base}/aggrs", 0)
    assert damon.refusal(STATE, "on") == 0


@pytest.mark.parametrize(
    "areas",
    [
        [(0x2000_0000, 0x1000_0000)],
        [(0x2000_0000, 0x2100_0000), (0x1000_0000, 0x1100_0000)],
        [(0x1000_0000, 0x1100_0000), (0x10FF_0000, 0x1200_0000)],
    ],
)
def test_bad_ranges_do_not_start(damon: Subject, areas: list[tuple[int, int]]) -> None:
    damon.stage(damon.world.spawn())
    staged_regions(damon, 0, *areas)
    assert damon.refusal(STATE, "on") == errno.EINVAL


@pytest.mark.parametrize(
    "areas",
    [
        [(0x1000_0000, 0x1000_0000)],
        [(0x1000_0000, 0x1000_1001), (0x1000_1800, 0x1000_3000)],
    ],
)
def test_ranges_are_checked_after_rounding(damon: Subject, areas: list[tuple[int, int]]) -> None:
    damon.stage(damon.world.spawn())
    staged_regions(damon, 0, *areas)
    strict = behaviour(damon.kernel).strict_ranges
    assert damon.refusal(STATE, "on") == (errno.EINVAL if strict else 0)


def test_unknown_cgroups_come_back_as_out_of_memory(damon: Subject) -> None:
    base = staged_filter(damon)
    damon.put(f"{TARGET}/pid_target", damon.world.spawn())
    damon.put(f"{base}/type", "memcg")
    damon.put(f"{base}/memcg_path", "/no/such/cgroup")
    assert damon.refusal(STATE, "on") == errno.ENOMEM
    damon.put(f"{base}/memcg_path", "/\n")
    assert damon.refusal(STATE, "on") == 0


def test_reversed_addresses_come_back_as_out_of_memory(damon: Subject) -> None:
    at_least(damon, 6, 6)
    base = staged_filter(damon)
    damon.put(f"{TARGET}/pid_target", damon.world.spawn())
    damon.put(f"{base}/type", "addr")
    damon.put(f"{base}/addr_start", 8192)
    damon.put(f"{base}/addr_end", 4096)
    assert damon.refusal(STATE, "on") == errno.ENOMEM


def test_exclusive_modules(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    switch = damon.parameter("reclaim")
    damon.fs.write(switch, "Y")
    assert damon.fs.read(switch) == "Y\n"
    assert damon.refusal(STATE, "on") == errno.EBUSY
    damon.fs.write(switch, "N")
    damon.put(STATE, "on")
    with pytest.raises(OSError, match="busy") as refused:
        damon.fs.write(switch, "Y")
    assert refused.value.errno == errno.EBUSY
    if damon.kernel >= (6, 17):
        stat = damon.parameter("stat")
        with pytest.raises(OSError, match="busy"):
            damon.fs.write(stat, "Y")
        assert damon.fs.read(stat) == "N\n"


# targets


def test_physical_memory_has_one_target_and_no_ranges_of_its_own(damon: Subject) -> None:
    at_least(damon, 6, 2)
    damon.stage()
    damon.put(f"{CONTEXT}/operations", "paddr")
    damon.put(STATE, "on")
    assert damon.tried() == []
    assert damon.get(STATE) == "on"
    damon.put(STATE, "off")
    damon.put(f"{CONTEXT}/targets/nr_targets", 2)
    assert damon.refusal(STATE, "on") == errno.EINVAL


def test_physical_ranges_are_monitored(damon: Subject) -> None:
    at_least(damon, 6, 2)
    damon.stage()
    damon.put(f"{CONTEXT}/operations", "paddr")
    staged_regions(damon, 0, (RANGE[0] + 1, RANGE[1] - 1))
    damon.put(STATE, "on")
    found = damon.tried()
    assert (found[0]["start"], found[-1]["end"]) == RANGE


def _ended(damon: Subject) -> None:
    pid = damon.world.spawn()
    damon.stage(pid)
    damon.put(STATE, "on")
    damon.world.kill(pid)
    assert damon.until(lambda: damon.get(STATE) == "off")


def test_the_thread_ends_with_its_last_target(damon: Subject) -> None:
    _ended(damon)
    assert damon.get("kdamonds/0/pid") == "-1"
    assert damon.refusal(STATE, "off") == (0 if damon.kernel >= (7, 3) else errno.EPERM)
    assert damon.refusal(STATE, "on") == errno.EINVAL
    assert damon.refusal(STATE, "off") == errno.EINVAL


@pytest.mark.parametrize("command", ["update_schemes_stats", "commit"])
def test_ended_threads_refuse_commands(damon: Subject, command: str) -> None:
    """One command only: on 6.17 to 6.19 a second one corrupts kernel memory."""
    _ended(damon)
    dead = errno.ECANCELED if behaviour(damon.kernel).dead_is_cancelled else errno.EINVAL
    assert damon.refusal(STATE, command) == dead
    if (6, 14) <= damon.kernel < (6, 17) and command != "commit":
        assert damon.refusal(STATE, command) == errno.EBUSY


def test_no_targets_end_at_once(damon: Subject) -> None:
    damon.stage()
    damon.put(f"{CONTEXT}/targets/nr_targets", 0)
    damon.put(STATE, "on")
    assert damon.until(lambda: damon.get(STATE) == "off")


def test_kthreadd_is_a_harmless_target(damon: Subject) -> None:
    damon.stage(KTHREADD)
    damon.put(STATE, "on")
    damon.world.sleep(0.3)
    assert damon.get(STATE) == "on"
    damon.put(STATE, "commit")
    assert damon.get(STATE) == "on"
    if damon.kernel >= (6, 2):
        assert damon.tried() == []


def test_a_committed_kthreadd_keeps_the_thread_alive(damon: Subject) -> None:
    pid = damon.world.spawn()
    damon.stage(pid)
    damon.put(STATE, "on")
    thread = damon.get("kdamonds/0/pid")
    damon.put(f"{TARGET}/pid_target", KTHREADD)
    damon.put(STATE, "commit")
    damon.world.kill(pid)
    damon.world.sleep(0.5)
    assert (damon.get(STATE), damon.get("kdamonds/0/pid")) == ("on", thread)


@pytest.mark.parametrize("explicit", [True, False])
def test_new_targets_see_only_their_explicit_ranges(damon: Subject, explicit: bool) -> None:
    at_least(damon, 6, 2)
    first = damon.world.spawn()
    damon.stage(first)
    damon.put(STATE, "on")
    before = damon.tried()
    assert before
    damon.put(f"{CONTEXT}/targets/nr_targets", 2)
    damon.put(f"{TARGET}/pid_target", first)
    damon.put(f"{CONTEXT}/targets/1/pid_target", damon.world.spawn())
    if explicit:
        staged_regions(damon, 1, RANGE)
    damon.put(STATE, "commit")
    found = damon.tried()
    seen = [(r["start"], r["end"]) for r in found if r["end"] <= RANGE[1]]
    assert bool(seen) == explicit
    if explicit:
        assert (seen[0][0], seen[-1][1]) == RANGE
    rest = [r for r in found if r["end"] > RANGE[1]]
    assert (rest[0]["start"], rest[-1]["end"]) == (before[0]["start"], before[-1]["end"])


def test_obsolete_targets_leave_at_commit(damon: Subject) -> None:
    at_least(damon, 6, 19)
    damon.stage(KTHREADD)
    damon.put(f"{CONTEXT}/targets/nr_targets", 2)
    damon.put(f"{TARGET}/pid_target", KTHREADD)
    damon.put(f"{CONTEXT}/targets/1/pid_target", KTHREADD)
    low, high = RANGE, (0x3000_0000, 0x3100_0000)
    staged_regions(damon, 0, low)
    staged_regions(damon, 1, high)
    damon.put(STATE, "on")
    damon.put(f"{TARGET}/obsolete_target", "Y")
    damon.put(STATE, "commit")
    found = damon.tried()
    assert (found[0]["start"], found[-1]["end"]) == high
    damon.put(f"{CONTEXT}/targets/1/obsolete_target", "Y")
    assert damon.refusal(STATE, "commit") == errno.EINVAL
