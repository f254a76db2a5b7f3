"""Whom a target reaches. Pure."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Final

from damos_agent.config.issue import Issue
from damos_agent.model.policy import Policy, ProcessTarget, Target

_ANY: Final = ("\x01", "/b -c d", *string.ascii_letters, *string.digits, *string.punctuation)
"""A pattern that finds each of these asks for nothing that only some command lines have.

Short, for a pattern may take exponential time.
"""
_UNLESS: Final = ("(?!", "(?<!")
"""What such a pattern leaves out may be in none of the samples."""


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
        and not any(mark in target.cmdline for mark in _UNLESS)
        and all(re.search(target.cmdline, sample) for sample in _ANY)
    )
