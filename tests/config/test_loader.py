"""Whatever the bytes, loading yields a policy or a finding with a place; never an exception."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from damos_agent.config.document import parse_document
from damos_agent.config.load import Loaded, load_bytes
from damos_agent.config.scalars import Doubt, resolve_plain
from damos_agent.model.finding import Severity
from damos_agent.model.policy import (
    CgroupTarget,
    External,
    Filter,
    FilterType,
    Goal,
    GoalMetric,
    PidTarget,
    ProcessTarget,
)
from tests.config import samples

SAMPLES = sorted((Path(__file__).parents[2] / "policies").glob("*.yaml"))


def check(data: bytes) -> Loaded:
    loaded = load_bytes(data, "x.yaml")
    errors = [one for one in loaded.findings if one.severity is Severity.ERROR]
    usable = loaded.policy is not None or loaded.settings is not None
    assert usable != bool(errors)
    lines = data.decode("utf-8", "replace").count("\n") + 1
    for one in loaded.findings:
        assert 0 <= one.line <= lines + 1
        assert (one.line == 0) == (one.column == 0)
    return loaded


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    check(data)


@given(st.text(max_size=400))
def test_any_text(text: str) -> None:
    check(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=200)
@given(st.text(alphabet="{}[]:,-&*!|>'\"%@`#?~ \n\tab01<<.", max_size=200))
def test_any_punctuation(text: str) -> None:
    check(text.encode())


@settings(max_examples=300)
@given(st.data())
def test_any_damage_to_a_good_file(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from(SAMPLES)).read_bytes()
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 40)))
    check(good[:start] + data.draw(st.binary(max_size=20)) + good[end:])


_scalars = st.one_of(
    st.integers(-(2**80), 2**80).map(str),
    st.sampled_from(["max", "5s", "1GiB", "5%", "true", "{}", "[]", "stat", "anon", "'0x10'"]),
    st.text(alphabet="abc{}:-é", max_size=8).map(repr),
)


@settings(max_examples=300)
@given(st.data())
def test_any_value_anywhere(data: st.DataObject) -> None:
    """The right keys with any values: nothing after the parser raises either."""
    lines = data.draw(st.sampled_from(SAMPLES)).read_text().splitlines()
    index = data.draw(st.sampled_from([i for i, line in enumerate(lines) if ":" in line]))
    lines[index] = lines[index].split(":")[0] + ": " + data.draw(_scalars)
    check("\n".join(lines).encode())


P99 = External("p99")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 50_000,
        "- " * 60_000,
        "a: &a [x]\nb: [" + "*a, " * 1000 + "]",
        "? " * 50_000,
        "apiVersion: " + "9" * 10_000,
        "x: !!python/object/apply:os.system ['true']",
        "a: " + "1" * 5_000 + "s",
        "\ufeffapiVersion: damos-agent/v1",
        "%YAML 1.2\n---\na: 1",
        "%TAG ! tag:x,2000:\n--- !a b",
    ],
)
def test_hostile_text(text: str) -> None:
    assert check(text.encode()).findings


def test_a_quantity_of_absurd_length_is_a_finding() -> None:
    text = samples.policy(quota="{size: " + "9" * 5000 + "GiB, interval: 1s}")

    assert [one.code for one in check(text.encode()).findings] == ["DA026"]


def test_crlf_and_byte_order_mark_are_accepted() -> None:
    text = samples.policy().replace("\n", "\r\n")

    assert check(b"\xef\xbb\xbf" + text.encode()).policy is not None


@given(st.text(alphabet="abcdefghijklmnop_.yYnN0123456789:-+xXeE~", min_size=1, max_size=12))
def test_unquoted_words_mean_one_thing(text: str) -> None:
    """What is accepted as text is text to YAML 1.1 (PyYAML) as well, digits included."""
    try:
        node = yaml.compose(f"[{text}]", Loader=yaml.SafeLoader)
        read = yaml.safe_load(f"[{text}]")
        meant = resolve_plain(text)
    except (ValueError, yaml.YAMLError):
        return
    parts = [item.value for item in node.value] if node is not None else []
    if parts != [text] or meant is None or isinstance(meant, Doubt):
        return  # not one plain scalar, or refused
    assert read == [meant]


def test_places_are_those_of_an_editor() -> None:
    root, findings = parse_document("a:\n  - b: ä\n    'c d': 1\n", "x")

    assert findings == ()
    assert root is not None
    assert isinstance(root.value, dict)
    items = root.value["a"].value
    assert isinstance(items, list)
    assert items[0].keys == {"b": (2, 5), "c d": (3, 5)}
    assert items[0].place == (2, 5)


def loaded(text: str) -> Loaded:
    found = load_bytes(text.encode(), "x.yaml")
    assert found.findings == ()
    return found


@pytest.mark.parametrize(
    ("target", "model"),
    [
        ("{pid: 12}", PidTarget((12,))),
        ("{pids: [1, 2]}", PidTarget((1, 2))),
        ("{process: {user: 1000}}", ProcessTarget(user="1000")),
        ("{cgroup: {path: /a, descendants: false}}", CgroupTarget("/a", False)),
    ],
)
def test_targets(target: str, model: object) -> None:
    policy = loaded(samples.policy(target=target)).policy

    assert policy is not None
    assert policy.target == model


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("{reject: anon}", Filter(FilterType.ANON, allow=False)),
        ("{reject: {not: anon}}", Filter(FilterType.ANON, allow=False, matching=False)),
        ("{allow: {memcg: /a}}", Filter(FilterType.MEMCG, allow=True, cgroup="/a")),
        (
            "{allow: {not: {hugepage_size: {min: 2MiB}}}}",
            Filter(FilterType.HUGEPAGE_SIZE, True, False, size_min=1 << 21),
        ),
        ("{reject: {not: {not: young}}}", Filter(FilterType.YOUNG, allow=False)),
    ],
)
def test_filters(text: str, model: Filter) -> None:
    policy = loaded(samples.policy(target="{physical: {}}", filters=f"[{text}]")).policy

    assert policy is not None
    assert policy.schemes[0].filters == (model,)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("{memory_psi_some: 1%}", Goal(GoalMetric.MEMORY_PSI_SOME, 100)),
        ("{metric: memory_psi_some, target: 1%}", Goal(GoalMetric.MEMORY_PSI_SOME, 100)),
        ("{node_mem_used: {target: 95%, node: 1}}", Goal(GoalMetric.NODE_MEM_USED, 9500, nid=1)),
        (
            "{metric: node_mem_free, target: 5%, node: 0}",
            Goal(GoalMetric.NODE_MEM_FREE, 500, nid=0),
        ),
        (
            "{node_memcg_used: {target: 40%, node: 0, cgroup: /a}}",
            Goal(GoalMetric.NODE_MEMCG_USED, 4000, nid=0, cgroup="/a"),
        ),
        ("{user_input: {target: 100, current: 5}}", Goal(GoalMetric.USER_INPUT, 100, current=5)),
        (
            "{metric: user_input, target: 100, current: 5}",
            Goal(GoalMetric.USER_INPUT, 100, current=5),
        ),
    ],
)
def test_goals(text: str, model: Goal) -> None:
    quota = f"{{size: 1MiB, interval: 1s, goals: [{text}]}}"
    policy = loaded(samples.policy(quota=quota)).policy

    assert policy is not None
    assert policy.schemes[0].quota is not None
    assert policy.schemes[0].quota.goals == (model,)


@pytest.mark.parametrize(
    ("text", "metric", "target"),
    [
        ("rss: 8GiB", GoalMetric.RSS, 8 << 30),
        ("refault_rate: 0.2%/min", GoalMetric.REFAULT_RATE, 20),
        ("io_psi_some: 5%", GoalMetric.IO_PSI_SOME, 500),
        ("{metric: major_fault_rate, target: 1%/min}", GoalMetric.MAJOR_FAULT_RATE, 100),
    ],
)
def test_goals_of_the_agent_are_accepted(text: str, metric: GoalMetric, target: int) -> None:
    text = text if text.startswith("{") else f"{{{text}}}"
    quota = f"{{size: 1MiB, interval: 1s, goals: [{text}]}}"
    found = load_bytes(samples.policy(quota=quota).encode(), "x.yaml")

    assert found.findings == ()
    assert found.policy is not None
    assert found.policy.schemes[0].quota is not None
    assert found.policy.schemes[0].quota.goals == (Goal(metric, target),)


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("user_input: {target: 5, feed: p99}", Goal(GoalMetric.USER_INPUT, 5, source=P99)),
        (
            "user_input: {target: 5, file: /run/x, stale_after: 2s}",
            Goal(GoalMetric.USER_INPUT, 5, source=External("", "/run/x", 2_000_000)),
        ),
        (
            "memory_psi_some: {target: 1%, cgroup: /x}",
            Goal(GoalMetric.MEMORY_PSI_SOME, 100, cgroup="/x"),
        ),
        (
            "memory_current: {target: 1GiB, cgroup: /x}",
            Goal(GoalMetric.MEMORY_CURRENT, 1 << 30, cgroup="/x"),
        ),
        (
            "refault_rate: {target: 1%/min, cgroup: /x}",
            Goal(GoalMetric.REFAULT_RATE, 100, cgroup="/x"),
        ),
    ],
)
def test_goals_with_a_scope_or_a_source(text: str, goal: Goal) -> None:
    quota = f"{{size: 1MiB, interval: 1s, goals: [{{{text}}}]}}"
    found = load_bytes(samples.policy(quota=quota).encode(), "x.yaml")

    assert found.findings == ()
    assert found.policy is not None
    assert found.policy.schemes[0].quota is not None
    assert found.policy.schemes[0].quota.goals == (goal,)


def test_a_target_filter_names_each_process_by_its_first_place() -> None:
    text = samples.policy(target="{pids: [7, 8, 7]}", filters="[{reject: {target: 2}}]")
    found = load_bytes(text.encode(), "x.yaml").findings
    assert [one.code for one in found] == ["DA096", "DA092"]
