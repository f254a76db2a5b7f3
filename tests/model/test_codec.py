"""Values survive the way to the daemon and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.config.compile import compile_files
from damos_agent.model.codec import decode, encode
from damos_agent.model.compiled import Compiled, CompiledFile
from damos_agent.model.finding import Finding
from damos_agent.model.policy import Goal, GoalMetric, Policy, Target
from damos_agent.model.settings import Settings

POLICIES = Path(__file__).parents[2] / "policies"


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_sample_policies_come_back(path: Path) -> None:
    compiled = compile_files([str(path)])

    assert decode(Compiled, json.loads(json.dumps(encode(compiled)))) == compiled


@given(st.builds(CompiledFile, findings=st.lists(st.from_type(Finding), max_size=3).map(tuple)))
def test_any_file_comes_back(file: CompiledFile) -> None:
    assert decode(CompiledFile, json.loads(json.dumps(encode(file)))) == file


@given(st.from_type(Policy))
def test_any_policy_comes_back(policy: Policy) -> None:
    assert decode(Policy, json.loads(json.dumps(encode(policy)))) == policy


@given(st.from_type(Settings))
def test_any_settings_come_back(settings: Settings) -> None:
    assert decode(Settings, json.loads(json.dumps(encode(settings)))) == settings


@pytest.mark.parametrize(
    "data",
    [
        {"metric": "nonsense", "target": 1},
        {"metric": "rss", "target": "1"},
        {"metric": "rss", "target": True},
        {"metric": "rss"},
    ],
)
def test_what_does_not_fit_is_refused(data: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        decode(Goal, data)


def test_unions_are_told_apart_by_kind() -> None:
    with pytest.raises(TypeError):
        decode(Target, {"kind": "Nonsense"})  # type: ignore[arg-type]


def test_enums_travel_as_words() -> None:
    assert encode(Goal(GoalMetric.RSS, 5))["metric"] == "rss"


@dataclass(frozen=True)
class _Nothing:
    """Without any field."""


def test_what_has_no_fields_is_still_told_by_its_kind() -> None:
    assert encode(_Nothing()) == {"kind": "_Nothing"}
