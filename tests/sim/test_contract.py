"""What the kernel does at its DAMON sysfs: one suite for the simulation and the real thing.

It runs against every simulated release, and in lab guests (docs/lab.md) against their own
kernels, so that the two cannot drift apart.
"""

from __future__ import annotations

import errno

import pytest

from tests.sim.contract import at_least, staged_filter
from tests.sim.subject import CONTEXT, SCHEME, TARGET, Subject

ULONG = f"{SCHEME}/access_pattern/sz/min"


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


@pytest.mark.parametrize("text", ["Y", "y", "1", "on", "oN", "Yes\n", "1234"])
def test_spellings_of_yes(damon: Subject, text: str) -> None:
    path = f"{staged_filter(damon)}/matching"
    damon.put(path, text)
    assert damon.get(path) == "Y"


@pytest.mark.parametrize("text", ["N", "n", "0", "off", "Of", "no\n", "012"])
def test_spellings_of_no(damon: Subject, text: str) -> None:
    path = f"{staged_filter(damon)}/matching"
    damon.put(path, "Y")
    damon.put(path, text)
    assert damon.get(path) == "N"


@pytest.mark.parametrize("text", ["2", "o", "x", " Y", "\n", "ox"])
def test_bad_booleans(damon: Subject, text: str) -> None:
    path = f"{staged_filter(damon)}/matching"
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
    core = f"{staged_filter(damon, 'core_filters')}/type"
    assert damon.get(core) == "anon"
    assert damon.refusal(core, "anon") == errno.EINVAL
    assert [damon.refusal(core, word) for word in ("addr", "target")] == [0, 0]
    damon.put(f"{SCHEME}/ops_filters/nr_filters", 1)
    ops = f"{SCHEME}/ops_filters/0/type"
    assert damon.refusal(ops, "addr") == errno.EINVAL
    assert damon.refusal(ops, "young") == 0


def test_paths_come_back_with_the_newline_written(damon: Subject) -> None:
    path = f"{staged_filter(damon)}/memcg_path"
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
