"""Patterns of command lines that leave nobody out."""

from __future__ import annotations

import pytest

from damos_agent.config.check_across import overlap
from damos_agent.config.check_reach import is_every_process
from damos_agent.model.policy import CgroupTarget, ProcessTarget


@pytest.mark.parametrize("pattern", ["", ".*", ".+", "^", "$", ".", "x*", "(a|)", r"\S"])
def test_everything(pattern: str) -> None:
    target = ProcessTarget(cmdline=pattern)
    assert is_every_process(target)
    assert overlap(target, CgroupTarget("/a"))
    assert not is_every_process(ProcessTarget(cmdline=pattern, user="www"))
    assert not is_every_process(ProcessTarget(cmdline=pattern, exe="nginx"))


@pytest.mark.parametrize(
    "pattern",
    [
        *("redis", "^$", "a|b", r"^/usr/bin/", "[a-z]+"),
        *(r"^\S+$", "^[^-]", "^.{1,5}$", "^(?!.*nginx)", "^.*(?<!nginx)$"),
    ],
)
def test_something(pattern: str) -> None:
    assert not is_every_process(ProcessTarget(cmdline=pattern))
