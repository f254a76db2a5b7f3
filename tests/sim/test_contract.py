"""What the kernel does at its DAMON sysfs: one suite for the simulation and the real thing.

On the host it runs against every simulated release. In a lab guest (DAMOS_GUEST=1, see
docs/lab.md) the same functions run against the guest's own kernel, so that the two cannot
drift apart.
"""

from __future__ import annotations

import errno

import pytest

from tests.sim.subject import CONTEXT, GUEST, SCHEME, STATE, TARGET, Subject
from tests.sim.versions import behaviour

pytestmark = [pytest.mark.guest] if GUEST else []

ULONG = f"{SCHEME}/access_pattern/sz/min"
KTHREADD = 2
RANGE = (0x1000_0000, 0x1100_0000)


def at_least(damon: Subject, major: int, minor: int) -> None:
    if damon.kernel < (major, minor):
        pytest.skip(f"since {major}.{minor}")


# staging


def test_a_fresh_tree_is_empty(damon: Subject) -> None:
    assert damon.ls("kdamonds") == {"nr_kdamonds"}
    assert damon.get("kdamonds/nr_kdamonds") == "0"


def test_counts_make_numbered_directories(damon: Subject) -> None:
    damon.put("kdamonds/nr_kdamonds", 3)
    assert damon.ls("kdamonds") == {"nr_kdamonds", "0", "1", "2"}
    damon.put("kdamonds/nr_kdamonds", "0x1\n")
    assert damon.ls("kdamonds") == {"nr_kdamonds", "0"}


@pytest.mark.parametrize(
    ("count", "child"),
    [
        (f"{CONTEXT}/schemes/nr_schemes", f"{SCHEME}/watermarks/high"),
        (f"{CONTEXT}/targets/nr_targets", f"{TARGET}/pid_target"),
        ("kdamonds/0/contexts/nr_contexts", f"{CONTEXT}/monitoring_attrs/intervals/sample_us"),
        ("kdamonds/nr_kdamonds", f"{CONTEXT}/monitoring_attrs/nr_regions/min"),
    ],
)
def test_writing_the_same_count_wipes(damon: Subject, count: str, child: str) -> None:
    damon.stage()
    before = damon.get(child)
    damon.put(child, 77)
    assert damon.get(child) == "77"
    damon.put(count, damon.get(count))
    if damon.has(child):
        assert damon.get(child) == before
    else:
        assert count == "kdamonds/nr_kdamonds"


def test_one_context_at_most(damon: Subject) -> None:
    damon.put("kdamonds/nr_kdamonds", 1)
    assert damon.refusal("kdamonds/0/contexts/nr_contexts", 2) == errno.EINVAL
    assert damon.refusal("kdamonds/0/contexts/nr_contexts", -1) == errno.EINVAL


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("5", "5"),
        ("5\n", "5"),
        ("010", "8"),
        ("0x1F", "31"),
        ("0X1f\n", "31"),
        ("+7", "7"),
        ("18446744073709551615", "18446744073709551615"),
        ("4294967296", "4294967296"),
    ],
)
def test_numbers_detect_their_base(damon: Subject, text: str, shown: str) -> None:
    damon.stage()
    damon.put(ULONG, text)
    assert damon.get(ULONG) == shown


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("-1", errno.EINVAL),
        (" 1", errno.EINVAL),
        ("1 ", errno.EINVAL),
        ("1\n\n", errno.EINVAL),
        ("++1", errno.EINVAL),
        ("08", errno.EINVAL),
        ("0x", errno.EINVAL),
        ("1K", errno.EINVAL),
        ("\n", errno.EINVAL),
        ("max", errno.EINVAL),
        ("18446744073709551616", errno.ERANGE),
    ],
)
def test_bad_numbers_are_refused_and_change_nothing(damon: Subject, text: str, code: int) -> None:
    damon.stage()
    damon.put(ULONG, 42)
    assert damon.refusal(ULONG, text) == code
    assert damon.get(ULONG) == "42"


@pytest.mark.parametrize("name", ["ms", "bytes", "reset_interval_ms"])
def test_quotas_report_overflow_as_syntax(damon: Subject, name: str) -> None:
    damon.stage()
    assert damon.refusal(f"{SCHEME}/quotas/{name}", 1 << 64) == errno.EINVAL


def test_widths_of_other_numbers(damon: Subject) -> None:
    damon.stage()
    weight = f"{SCHEME}/quotas/weights/age_permil"
    assert damon.refusal(weight, 1 << 32) == errno.ERANGE
    damon.put(weight, (1 << 32) - 1)
    assert damon.get(weight) == "4294967295"
    assert damon.refusal(f"{TARGET}/pid_target", 1 << 31) == errno.EINVAL
    damon.put(f"{TARGET}/pid_target", -5)
    assert damon.get(f"{TARGET}/pid_target") == "-5"
    assert damon.refusal("kdamonds/nr_kdamonds", 1 << 31) == errno.ERANGE
    assert damon.refusal("kdamonds/nr_kdamonds", -1) == errno.EINVAL


def _filter(damon: Subject, layer: str = "filters") -> str:
    at_least(damon, 6, 3)
    damon.stage()
    damon.put(f"{SCHEME}/{layer}/nr_filters", 1)
    return f"{SCHEME}/{layer}/0"


@pytest.mark.parametrize("text", ["Y", "y", "1", "on", "oN", "Yes\n", "1234"])
def test_spellings_of_yes(damon: Subject, text: str) -> None:
    path = f"{_filter(damon)}/matching"
    damon.put(path, text)
    assert damon.get(path) == "Y"


@pytest.mark.parametrize("text", ["N", "n", "0", "off", "Of", "no\n", "012"])
def test_spellings_of_no(damon: Subject, text: str) -> None:
    path = f"{_filter(damon)}/matching"
    damon.put(path, "Y")
    damon.put(path, text)
    assert damon.get(path) == "N"


@pytest.mark.parametrize("text", ["2", "o", "x", " Y", "\n", "ox"])
def test_bad_booleans(damon: Subject, text: str) -> None:
    path = f"{_filter(damon)}/matching"
    damon.put(path, "Y")
    assert damon.refusal(path, text) == errno.EINVAL
    assert damon.get(path) == "Y"


@pytest.mark.parametrize(
    ("path", "good"),
    [
        (f"{SCHEME}/action", "pageout"),
        (f"{SCHEME}/watermarks/metric", "free_mem_rate"),
        (f"{CONTEXT}/operations", "paddr"),
    ],
)
def test_keywords_are_exact(damon: Subject, path: str, good: str) -> None:
    damon.stage()
    damon.put(path, good + "\n")
    assert damon.get(path) == good
    for bad in (good.upper(), good + " ", good[:-1], "\n", good + "\n\n"):
        assert damon.refusal(path, bad) == errno.EINVAL
    assert damon.get(path) == good


@pytest.mark.parametrize(
    ("action", "since"),
    [("lru_prio", (6, 0)), ("migrate_hot", (6, 11)), ("collapse", (7, 2)), ("nonsense", (99, 0))],
)
def test_actions_by_release(damon: Subject, action: str, since: tuple[int, int]) -> None:
    damon.stage()
    expected = 0 if damon.kernel >= since else errno.EINVAL
    assert damon.refusal(f"{SCHEME}/action", action) == expected


def test_core_filters_take_only_addresses_and_targets(damon: Subject) -> None:
    at_least(damon, 6, 15)
    core = f"{_filter(damon, 'core_filters')}/type"
    assert damon.get(core) == "anon"
    assert damon.refusal(core, "anon") == errno.EINVAL
    assert [damon.refusal(core, word) for word in ("addr", "target")] == [0, 0]
    damon.put(f"{SCHEME}/ops_filters/nr_filters", 1)
    ops = f"{SCHEME}/ops_filters/0/type"
    assert damon.refusal(ops, "addr") == errno.EINVAL
    assert damon.refusal(ops, "young") == 0


def test_paths_come_back_with_the_newline_written(damon: Subject) -> None:
    path = f"{_filter(damon)}/memcg_path"
    file = f"{damon.root}/{path}"
    assert damon.fs.read(file) == "\n"
    damon.put(path, "/a.slice")
    assert damon.fs.read(file) == "/a.slice\n"
    damon.put(path, "/a.slice\n")
    assert damon.fs.read(file) == "/a.slice\n\n"
    damon.put(path, "\n")
    assert damon.fs.read(file).strip() == ""


def test_a_write_of_nothing_is_not_delivered(damon: Subject) -> None:
    damon.stage()
    damon.put(ULONG, 42)
    assert damon.refusal(ULONG, "") == 0
    assert damon.get(ULONG) == "42"


def test_status_files_refuse_writing(damon: Subject) -> None:
    damon.stage()
    assert damon.refusal("kdamonds/0/pid", "1") == errno.EACCES
    assert damon.refusal(f"{SCHEME}/stats/nr_tried", "1") == errno.EACCES


def test_what_is_not_there(damon: Subject) -> None:
    assert damon.refusal("kdamonds/0/state", "on") == errno.ENOENT
    assert damon.refusal("kdamonds", "1") == errno.EISDIR
    assert damon.refusal("kdamonds/nr_kdamonds/x", "1") == errno.ENOTDIR


# on and off


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


def _regions(damon: Subject, target: int, *areas: tuple[int, int]) -> None:
    base = f"{CONTEXT}/targets/{target}/regions"
    damon.put(f"{base}/nr_regions", len(areas))
    for index, (start, end) in enumerate(areas):
        damon.put(f"{base}/{index}/start", start)
        damon.put(f"{base}/{index}/end", end)


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
    _regions(damon, 0, *areas)
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
    _regions(damon, 0, *areas)
    strict = behaviour(damon.kernel).strict_ranges
    assert damon.refusal(STATE, "on") == (errno.EINVAL if strict else 0)


def test_unknown_cgroups_come_back_as_out_of_memory(damon: Subject) -> None:
    base = _filter(damon)
    damon.put(f"{TARGET}/pid_target", damon.world.spawn())
    damon.put(f"{base}/type", "memcg")
    damon.put(f"{base}/memcg_path", "/no/such/cgroup")
    assert damon.refusal(STATE, "on") == errno.ENOMEM
    damon.put(f"{base}/memcg_path", "/\n")
    assert damon.refusal(STATE, "on") == 0


def test_reversed_addresses_come_back_as_out_of_memory(damon: Subject) -> None:
    at_least(damon, 6, 6)
    base = _filter(damon)
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
    _regions(damon, 0, (RANGE[0] + 1, RANGE[1] - 1))
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
        _regions(damon, 1, RANGE)
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
    _regions(damon, 0, low)
    _regions(damon, 1, high)
    damon.put(STATE, "on")
    damon.put(f"{TARGET}/obsolete_target", "Y")
    damon.put(STATE, "commit")
    found = damon.tried()
    assert (found[0]["start"], found[-1]["end"]) == high
    damon.put(f"{CONTEXT}/targets/1/obsolete_target", "Y")
    assert damon.refusal(STATE, "commit") == errno.EINVAL


# commit and status


def test_a_failed_commit(damon: Subject) -> None:
    """≤ 6.14 reports success and ends the thread; later releases refuse and go on."""
    pid = damon.world.spawn()
    damon.stage(pid)
    damon.put(STATE, "on")
    damon.put(f"{TARGET}/pid_target", 4194304)
    if damon.kernel <= (6, 14):
        assert damon.refusal(STATE, "commit") == 0
        assert damon.until(lambda: damon.get(STATE) == "off")
    else:
        assert damon.refusal(STATE, "commit") == errno.EINVAL
        assert damon.get(STATE) == "on"


def test_a_failed_commit_of_a_scheme(damon: Subject) -> None:
    at_least(damon, 6, 15)
    base = _filter(damon, "ops_filters")
    damon.put(f"{TARGET}/pid_target", damon.world.spawn())
    damon.put(STATE, "on")
    damon.put(f"{base}/type", "memcg")
    damon.put(f"{base}/memcg_path", "/no/such/cgroup")
    assert damon.refusal(STATE, "commit") == errno.ENOMEM
    assert damon.get(STATE) == "on"


def test_status_changes_only_when_asked(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    tried = f"{SCHEME}/stats/nr_tried"
    damon.world.sleep(0.5)
    assert damon.get(tried) == "0"
    damon.put(STATE, "update_schemes_stats")
    first = int(damon.get(tried))
    assert first > 0
    damon.world.sleep(0.5)
    assert int(damon.get(tried)) == first
    damon.put(STATE, "update_schemes_stats")
    assert int(damon.get(tried)) > first


def test_statistics_and_thread_survive_commit_and_restart_at_on(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    damon.world.sleep(1.0)
    damon.put(STATE, "update_schemes_stats")
    tried = f"{SCHEME}/stats/nr_tried"
    first, thread = int(damon.get(tried)), damon.get("kdamonds/0/pid")
    damon.put(f"{SCHEME}/quotas/bytes", 1 << 40)
    damon.put(STATE, "commit")
    damon.put(STATE, "update_schemes_stats")
    assert int(damon.get(tried)) >= first > 0
    assert damon.get("kdamonds/0/pid") == thread
    damon.put(STATE, "off")
    assert int(damon.get(tried)) >= first
    damon.put(STATE, "on")
    damon.put(STATE, "update_schemes_stats")
    assert int(damon.get(tried)) < first


def test_staged_is_not_running(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    damon.put(f"{SCHEME}/access_pattern/sz/max", 0)
    damon.world.sleep(0.5)
    tried = f"{SCHEME}/stats/nr_tried"
    damon.put(STATE, "update_schemes_stats")
    assert int(damon.get(tried)) > 0
    damon.put(STATE, "commit")
    damon.put(STATE, "update_schemes_stats")
    first = damon.get(tried)
    damon.world.sleep(0.5)
    damon.put(STATE, "update_schemes_stats")
    assert damon.get(tried) == first


def test_counts_are_cut_to_32_bits(damon: Subject) -> None:
    damon.stage(damon.world.spawn())
    damon.put(f"{SCHEME}/access_pattern/age/max", 1 << 32)
    damon.put(f"{SCHEME}/access_pattern/nr_accesses/min", 1 << 32)
    damon.put(f"{SCHEME}/access_pattern/age/min", (1 << 32) + (1 << 31))
    damon.put(STATE, "on")
    damon.world.sleep(0.5)
    damon.put(STATE, "update_schemes_stats")
    assert damon.get(f"{SCHEME}/stats/nr_tried") == "0"
    assert damon.get(f"{SCHEME}/access_pattern/age/max") == "4294967296"
    damon.put(f"{SCHEME}/access_pattern/age/min", 1 << 32)
    damon.put(f"{SCHEME}/access_pattern/age/max", (1 << 33) - 1)
    damon.put(STATE, "commit")
    damon.world.sleep(0.5)
    damon.put(STATE, "update_schemes_stats")
    assert int(damon.get(f"{SCHEME}/stats/nr_tried")) > 0


@pytest.mark.parametrize("change", ["quotas/bytes", "watermarks/high", "nothing"])
def test_ages_survive_commit(damon: Subject, change: str) -> None:
    at_least(damon, 6, 2)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    damon.world.sleep(2.0)
    oldest = max(region["age"] for region in damon.tried())
    assert oldest >= 5
    if change != "nothing":
        damon.put(f"{SCHEME}/{change}", 1 << 40)
    damon.put(STATE, "commit")
    assert max(region["age"] for region in damon.tried()) >= oldest


def test_ages_are_rescaled_with_the_intervals(damon: Subject) -> None:
    at_least(damon, 6, 12)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    damon.world.sleep(3.0)
    oldest = max(region["age"] for region in damon.tried())
    damon.put(f"{CONTEXT}/monitoring_attrs/intervals/sample_us", 50000)
    damon.put(f"{CONTEXT}/monitoring_attrs/intervals/aggr_us", 500000)
    damon.put(STATE, "commit")
    age = max(region["age"] for region in damon.tried())
    assert oldest // 10 <= age <= oldest // 10 + 2


def test_a_restart_forgets_ages(damon: Subject) -> None:
    at_least(damon, 6, 2)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    damon.world.sleep(2.0)
    oldest = max(region["age"] for region in damon.tried())
    damon.put(STATE, "off")
    damon.put(STATE, "on")
    assert max(region["age"] for region in damon.tried()) < oldest


def test_tried_regions_stay_until_cleared(damon: Subject) -> None:
    at_least(damon, 6, 6)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    damon.world.sleep(0.3)
    base = f"{SCHEME}/tried_regions"
    regions = damon.tried()
    total = sum(region["end"] - region["start"] for region in regions)
    assert int(damon.get(f"{base}/total_bytes")) == total > 0
    damon.put(STATE, "update_schemes_tried_bytes")
    assert damon.ls(base) == {"total_bytes"}
    assert int(damon.get(f"{base}/total_bytes")) > 0
    damon.put(STATE, "clear_schemes_tried_regions")
    assert damon.get(f"{base}/total_bytes") == "0"


def test_tried_regions_need_a_scheme(damon: Subject) -> None:
    at_least(damon, 6, 14)
    damon.stage(damon.world.spawn())
    damon.put(f"{CONTEXT}/schemes/nr_schemes", 0)
    damon.put(STATE, "on")
    assert damon.refusal(STATE, "update_schemes_tried_regions") == errno.ECANCELED


def test_clearing_works_when_off(damon: Subject) -> None:
    at_least(damon, 6, 2)
    damon.stage()
    expected = 0 if damon.kernel >= (6, 14) else errno.EINVAL
    assert damon.refusal(STATE, "clear_schemes_tried_regions") == expected


# quotas


def test_effective_quota_without_goals_is_the_size(damon: Subject) -> None:
    at_least(damon, 6, 9)
    damon.stage(damon.world.spawn())
    damon.put(f"{SCHEME}/quotas/bytes", 1 << 20)
    damon.put(f"{SCHEME}/quotas/reset_interval_ms", 200)
    damon.put(STATE, "on")
    effective = f"{SCHEME}/quotas/effective_bytes"
    damon.world.sleep(1.0)
    assert damon.get(effective) == "0"
    damon.put(STATE, "update_schemes_effective_quotas")
    assert damon.get(effective) == str(1 << 20)
    damon.put(f"{SCHEME}/quotas/bytes", 1 << 19)
    damon.put(STATE, "commit")
    damon.world.sleep(1.0)
    damon.put(STATE, "update_schemes_effective_quotas")
    assert damon.get(effective) == str(1 << 19)


def test_user_input_steers_the_effective_quota(damon: Subject) -> None:
    at_least(damon, 6, 9)
    damon.stage(damon.world.spawn())
    damon.put(f"{SCHEME}/quotas/bytes", 1 << 16)
    damon.put(f"{SCHEME}/quotas/reset_interval_ms", 100)
    damon.put(f"{SCHEME}/quotas/goals/nr_goals", 1)
    goal = f"{SCHEME}/quotas/goals/0"
    damon.put(f"{goal}/target_value", 10000)
    damon.put(STATE, "on")
    damon.world.sleep(5.0)
    damon.put(STATE, "update_schemes_effective_quotas")
    effective = f"{SCHEME}/quotas/effective_bytes"
    assert damon.get(effective) == str(1 << 16)
    damon.put(f"{goal}/current_value", 20000)
    damon.put(STATE, "commit_schemes_quota_goals")
    damon.world.sleep(1.0)
    damon.put(STATE, "update_schemes_effective_quotas")
    assert damon.get(effective) == "1"


def test_running_intervals_overwrite_the_staged_ones(damon: Subject) -> None:
    at_least(damon, 6, 15)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    path = f"{CONTEXT}/monitoring_attrs/intervals/aggr_us"
    damon.put(path, 70000)
    damon.put(STATE, "update_tuned_intervals")
    assert damon.get(path) == "50000"


def test_refreshing_is_live(damon: Subject) -> None:
    at_least(damon, 6, 17)
    damon.stage(damon.world.spawn())
    damon.put(STATE, "on")
    tried = f"{SCHEME}/stats/nr_tried"
    damon.world.sleep(0.5)
    assert damon.get(tried) == "0"
    damon.put("kdamonds/0/refresh_ms", 50)
    assert damon.until(lambda: damon.get(tried) != "0")
    damon.put("kdamonds/0/refresh_ms", 0)
