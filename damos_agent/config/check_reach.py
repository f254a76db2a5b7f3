"""Whom a target reaches. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from damos_agent.config.issue import Issue
from damos_agent.model.policy import Policy, ProcessTarget, Target

_ANY: Final = "\x01"
"""A pattern that finds this asks for nothing that only some command lines have."""


def check_reach(policy: Policy) -> Iterator[Issue]:
    """A target that means more than whoever wrote it can have meant."""
    if is_every_process(policy.target):
        message = "the pattern matches every process of this machine"
        at = ("spec", "target", "process", "cmdline")
        yield Issue("DA068", at, message, "name part of the command, or add exe or user")


def is_every_process(target: Target) -> bool:
    """Whether it is a command line's pattern that excludes nothing, and no other condition."""
    return (
        isinstance(target, ProcessTarget)
        and target.exe is None
        and target.user is None
        and target.cmdline is not None
        and re.search(target.cmdline, _ANY) is not None
    )
