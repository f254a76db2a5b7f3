"""Sense of a policy that insists on user space: what no system call can do is an error. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from damos_agent.config.document import Loc
from damos_agent.config.issue import Issue
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import BackendChoice, PhysicalTarget, Policy, ProbeChoice, Scheme
from damos_agent.userspace.capable import (
    check_group,
    check_group_scheme,
    check_page_filter,
    check_writes_scheme,
    is_group,
    may_tell_pages,
)
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
    probe = policy.monitoring.userspace.probe
    if probe is ProbeChoice.MEMCG:
        yield from _check_group(policy)
    if probe is ProbeChoice.WRITES:
        yield from _check_writes(policy)
    if probe is not ProbeChoice.MEMCG and not may_tell_pages(probe):
        yield from _check_pages(policy, probe)


def _check_group(policy: Policy) -> Iterator[Issue]:
    """What cannot be done where memory has no addresses."""
    if not is_group(policy):
        at: Loc = (*_SPEC, "monitoring", "userspace", "probe")
        yield from _complaint(lambda: check_group(policy), at)
        return
    for index, scheme in enumerate(policy.schemes):
        yield from _complaint(partial(check_group_scheme, scheme), (*_SPEC, "schemes", index))


def _check_writes(policy: Policy) -> Iterator[Issue]:
    """What takes more than knowing what was written."""
    for index, scheme in enumerate(policy.schemes):
        at: Loc = (*_SPEC, "schemes", index, "action")
        yield from _complaint(partial(check_writes_scheme, scheme), at)


def _check_pages(policy: Policy, probe: ProbeChoice) -> Iterator[Issue]:
    """What cannot be done where single pages are not told apart."""
    for index, scheme in enumerate(policy.schemes):
        for number, item in enumerate(scheme.filters):
            at: Loc = (*_SPEC, "schemes", index, "filters", number)
            yield from _complaint(partial(check_page_filter, item, probe), at)


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
    return _complaint(lambda: check_scheme_capable(scheme), at)


def _complaint(check: Callable[[], object], at: Loc) -> Iterator[Issue]:
    try:
        check()
    except UnsupportedError as error:
        yield Issue("DA035", at, error.message, error.hint or "")
