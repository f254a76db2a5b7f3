"""Sense of a policy that insists on user space: what no system call can do is an error. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from damos_agent.config.document import Loc
from damos_agent.config.issue import Issue
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import BackendChoice, PhysicalTarget, Policy, Scheme
from damos_agent.userspace.capable import check_policy as check_capable
from damos_agent.userspace.capable import check_scheme as check_scheme_capable

_SPEC: Final[Loc] = ("spec",)


def check_userspace(policy: Policy) -> Iterator[Issue]:
    """Each scheme, and the target, against what the user-space backend can do."""
    if policy.backend is not BackendChoice.USERSPACE:
        return
    if isinstance(policy.target, PhysicalTarget):
        try:
            check_capable(policy)
        except UnsupportedError as error:
            yield Issue("DA035", (*_SPEC, "target"), error.message, error.hint or "")
    for index, scheme in enumerate(policy.schemes):
        yield from _check_scheme(scheme, (*_SPEC, "schemes", index))


def _check_scheme(scheme: Scheme, at: Loc) -> Iterator[Issue]:
    """One part at a time, so that each complaint stands where it belongs."""
    bare = replace(scheme, filters=(), quota=None)
    parts: list[tuple[Scheme, Loc]] = [(bare, (*at, "action"))]
    if not list(_complaints(bare, ())):
        parts = [
            (replace(bare, filters=(item,)), (*at, "filters", index))
            for index, item in enumerate(scheme.filters)
        ]
        if scheme.quota:
            parts.append((replace(bare, quota=scheme.quota), (*at, "quota", "goals")))
    for part, where in parts:
        yield from _complaints(part, where)


def _complaints(scheme: Scheme, at: Loc) -> Iterator[Issue]:
    try:
        check_scheme_capable(scheme)
    except UnsupportedError as error:
        yield Issue("DA035", at, error.message, error.hint or "")
