"""`spec.guard`: on by default, each limit to be changed or taken away by name."""

from __future__ import annotations

import pytest

from damos_agent.config.compile import compile_text
from damos_agent.model.policy import External, ExternalLimit, Limits, Policy
from tests.config import samples


def guarded(text: str) -> Policy:
    """A sample with that guard, which has no errors."""
    file = compile_text(samples.policy().replace("spec:", f"spec:\n  guard: {text}")).files[0]
    assert file.policy is not None, [str(one) for one in file.findings]
    return file.policy


def test_without_a_word_all_limits_are_there() -> None:
    (file,) = compile_text(samples.policy()).files
    assert file.policy is not None
    assert file.policy.guard == Limits(20, 500, 3_000, 1_000, 2_000)
    assert guarded("{}").guard == file.policy.guard


def test_every_limit_is_taken_away_by_name() -> None:
    text = "{refaults: max, memory_psi: max, io_psi: max, swap_free: 0%, cpu: max}"
    assert guarded(text).guard == Limits(None, None, None, None, None)


def test_every_limit_can_be_another() -> None:
    text = "{refaults: 1%/min, memory_psi: 0.5%, io_psi: 50%, swap_free: 25%, cpu: 5%}"
    assert guarded(text).guard == Limits(100, 50, 5_000, 2_500, 500)


def test_numbers_from_outside() -> None:
    text = "{external: [{feed: p99-us, max: 900}, {file: /run/p50, max: 5, stale_after: 5s}]}"
    assert guarded(text).guard.external == (
        ExternalLimit(External("p99-us", "", 60_000_000), 900),
        ExternalLimit(External("", "/run/p50", 5_000_000), 5),
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{external: [{max: 9}]}", "DA029"),
        ("{external: [{feed: a, file: /b, max: 9}]}", "DA029"),
        ("{external: [{feed: a, max: 0}]}", "DA027"),
        ("{external: [{feed: a}]}", "DA023"),
        ("{external: [{feed: A_B, max: 1}]}", "DA028"),
        ("{external: [{file: b, max: 1}]}", "DA031"),
        ("{refaults: 1%}", "DA026"),
        ("{swap_free: max}", "DA026"),
        ("{psi: 5%}", "DA022"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(text: str, code: str) -> None:
    file = compile_text(samples.policy().replace("spec:", f"spec:\n  guard: {text}")).files[0]
    assert file.policy is None
    (found,) = [one for one in file.findings if one.severity == "error"]
    assert (found.code, found.line) == (code, 5)
