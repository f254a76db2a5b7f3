"""Single edits of good policies: rejected, or at most as dangerous as before, or warned about.

What cannot be caught in principle: a line or block that is optional, dropped whole, while another
restriction of its kind stays (one of two quota caps, one of two conditions on the process, a
filter, a goal below its cap, watermarks, a bound that the action does not demand). The result is
a policy that somebody might have written on purpose; `damosctl plan` shows the difference.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from damos_agent.config.compile import compile_text
from damos_agent.model.compiled import CompiledFile
from damos_agent.model.finding import Severity
from damos_agent.model.policy import Policy
from tests.config.danger import dangers
from tests.config.mutations import Mutation, mutations

POLICIES = Path(__file__).parents[2] / "policies"
SAMPLES = sorted(path for path in POLICIES.glob("*.yaml") if path.name != "agent.yaml")

ALWAYS_CAUGHT = {
    "misspelt key",
    "misspelt word",
    "lost unit",
    "ambiguous unit",
    "swapped bounds",
    "indented",
    "dedented",
    "lost colon",
    "duplicated line",
}
IRREDUCIBLE = {
    "quota.time_us",
    "quota.size",
    "quota.goals",
    "target",
    "filters",
    "watermarks",
    "pattern.size",
    "pattern.age",
    "pattern.access_rate",
}


def compiled(text: str) -> CompiledFile:
    return compile_text(text, "policy.yaml").files[0]


@cache
def outcomes(path: Path) -> tuple[tuple[Mutation, tuple[str, ...], str], ...]:
    """Every mutation with its dangers and whether it was rejected, warned about, or neither."""
    text = path.read_text()
    original = compiled(text).policy
    assert original is not None
    return tuple((item, *_judge(original, item)) for item in mutations(text))


def _judge(original: Policy, mutation: Mutation) -> tuple[tuple[str, ...], str]:
    after = compiled(mutation.text)
    if after.policy is None:
        assert any(one.severity is Severity.ERROR and one.line for one in after.findings)
        return (), "rejected"
    warned = any(one.severity is Severity.WARNING for one in after.findings)
    return tuple(dangers(original, after.policy)), "warned" if warned else "silent"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_slips_never_make_a_policy_more_dangerous(path: Path) -> None:
    for mutation, danger, _ in outcomes(path):
        if mutation.kind in ALWAYS_CAUGHT:
            assert not danger, (mutation.kind, mutation.where, danger)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", ["lost unit", "ambiguous unit", "swapped bounds"])
def test_lost_units_and_swapped_bounds_are_rejected(path: Path, kind: str) -> None:
    for mutation, _, outcome in outcomes(path):
        if mutation.kind == kind:
            assert outcome == "rejected", mutation.where


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_misspelt_language_is_rejected(path: Path) -> None:
    """Every misspelt key or word but the user's own label and annotation names."""
    for mutation, _, outcome in outcomes(path):
        if mutation.kind in ("misspelt key", "misspelt word"):
            own = mutation.where.split()[0] in ("purpose", "owner")
            assert outcome == ("silent" if own else "rejected"), mutation.where


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_dropping_a_restriction_is_caught_unless_another_of_its_kind_stays(path: Path) -> None:
    for mutation, danger, outcome in outcomes(path):
        if danger and outcome == "silent":
            assert mutation.kind in ("dropped line", "dropped block")
            assert set(danger) <= IRREDUCIBLE, (mutation.where, danger)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_dropping_the_whole_quota_of_a_costly_action_is_warned_about(path: Path) -> None:
    quotas = [
        (danger, outcome)
        for mutation, danger, outcome in outcomes(path)
        if (mutation.kind, mutation.where) == ("dropped block", "quota:")
    ]

    assert len(quotas) == path.read_text().count("      quota:")
    assert all(found == (("quota",), "warned") for found in quotas)


def test_the_numbers() -> None:
    """Honest counts: how many edits, and the share that is dangerous and goes unnoticed."""
    results = [one for path in SAMPLES for one in outcomes(path)]
    counts = Counter(
        (bool(danger), outcome) for mutation, danger, outcome in results if mutation.kind
    )
    unnoticed = counts[True, "silent"]

    assert len(results) >= 2500
    assert counts[False, "rejected"] >= 0.9 * len(results)
    assert unnoticed <= 0.015 * len(results), counts


@pytest.mark.parametrize(
    ("old", "new", "danger"),
    [
        ("mode: observe", "mode: enforce", "mode"),
        ("exe: memcached", "exe: redis", "target"),
        ("size: 100MiB", "size: 101MiB", "quota.size"),
        ("interval: 1s\n        w", "interval: 500ms\n        w", "quota.size"),
        ("age: {min: 2m", "age: {min: 1m", "pattern.age"),
        ("max: 0%", "max: 5%", "pattern.access_rate"),
        ("min: 4KiB", "min: 0B", "pattern.size"),
    ],
)
def test_danger_is_seen(old: str, new: str, danger: str) -> None:
    text = (POLICIES / "proactive-reclaim.yaml").read_text()
    assert old in text
    before, after = compiled(text).policy, compiled(text.replace(old, new)).policy
    assert before is not None
    assert after is not None

    assert danger in dangers(before, after)
    assert dangers(before, before) == []
