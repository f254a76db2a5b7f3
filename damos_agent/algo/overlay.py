"""What is in force of a policy while its actions are held, slowed down or steered. Pure.

The plan is made from the policy as it is then, so that holding takes the same way as any edit:
`stat` in place of an action stops it on every kernel, and monitoring goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from damos_agent.model.policy import Action, Mode, Pattern, Policy, Quota, Scheme

BP: Final = 10_000
AUTO_US: Final = 10_000_000
"""Between two looks at regions, where an age is found out."""
OBSERVED_US: Final = 60_000_000
"""And where only a prediction is wanted."""
UNFOUND_US: Final = 3_600_000_000
"""While observing, in place of an age that is not found out yet."""
PACE_BYTES: Final = 64 << 20
"""A second: what an unlimited scheme is slowed down from."""
_SECOND_US: Final = 1_000_000
LEAST_BYTES: Final = 4096
_LEAST_TIME_US: Final = 1_000


@dataclass(frozen=True, slots=True)
class Hold:
    """`all_why`: why nothing of the policy acts; `reclaim_why`: why nothing pages out; else
    `share_bp` of the quotas of what pages out. `sizes`: steered quotas in bytes, by scheme.
    `auto_us`: the age found out for patterns that leave it to us; None: not found out yet.
    """

    all_why: str = ""
    reclaim_why: str = ""
    share_bp: int = BP
    sizes: dict[int, int] = field(default_factory=dict)
    auto_us: int | None = None

    @property
    def why(self) -> str:
        """Why actions are stopped."""
        return self.all_why or self.reclaim_why


FREE: Final = Hold()


def pages_out(policy: Policy) -> bool:
    """Whether the policy takes memory away: what guards are about.

    Actions that only sort memory are none of that: they help when memory is short.
    """
    return policy.mode is Mode.ENFORCE and any(s.action is Action.PAGEOUT for s in policy.schemes)


def overlay(policy: Policy, hold: Hold) -> Policy:
    """The policy to carry out."""
    if has_auto_age(policy):
        policy = replace(policy, schemes=tuple(_aged(s, policy, hold) for s in policy.schemes))
    if hold == FREE or policy.mode is not Mode.ENFORCE:
        return policy
    schemes = (_held(scheme, hold, index) for index, scheme in enumerate(policy.schemes))
    return replace(policy, schemes=tuple(schemes))


def has_auto_age(policy: Policy) -> bool:
    """Whether any of its patterns leaves the age to us."""
    return any(scheme.pattern.auto_age for scheme in policy.schemes)


def is_observed(policy: Policy) -> bool:
    """Whether it only observes what paging out would do."""
    takes = any(scheme.action is Action.PAGEOUT for scheme in policy.schemes)
    return policy.mode is Mode.OBSERVE and takes


def look_interval_us(policies: Iterable[Policy]) -> int | None:
    """Time between two looks at regions; None: nobody needs any."""
    known = list(policies)
    if any(map(has_auto_age, known)):
        return AUTO_US
    return OBSERVED_US if any(map(is_observed, known)) else None


def resolved(pattern: Pattern, auto_us: int | None) -> Pattern:
    """With the age in place of `auto`."""
    if not pattern.auto_age:
        return pattern
    age_us = UNFOUND_US if auto_us is None else auto_us
    return replace(pattern, auto_age=False, age_min_us=age_us)


def _aged(scheme: Scheme, policy: Policy, hold: Hold) -> Scheme:
    if not scheme.pattern.auto_age:
        return scheme
    aged = replace(scheme, pattern=resolved(scheme.pattern, hold.auto_us))
    if hold.auto_us is None and policy.mode is Mode.ENFORCE:
        return replace(aged, action=Action.STAT, destinations=())
    return aged


def is_stopped(policy: Policy, hold: Hold) -> bool:
    """Whether anything the policy would do is stopped."""
    if policy.mode is not Mode.ENFORCE:
        return False
    return bool(hold.all_why) or (bool(hold.reclaim_why) and pages_out(policy))


def _held(scheme: Scheme, hold: Hold, index: int) -> Scheme:
    takes = scheme.action is Action.PAGEOUT
    if hold.all_why or (takes and hold.reclaim_why):
        return replace(scheme, action=Action.STAT, destinations=())
    quota = scheme.quota
    if index in hold.sizes:
        quota = replace(quota or Quota(), size=max(hold.sizes[index], LEAST_BYTES))
    if takes and hold.share_bp < BP:
        quota = _slowed(quota, hold.share_bp)
    return replace(scheme, quota=quota)


def _slowed(quota: Quota | None, share_bp: int) -> Quota:
    quota = quota or Quota()
    pace = PACE_BYTES * quota.interval_us // _SECOND_US
    # One limited by time only keeps that, as its share.
    size = quota.size or (0 if quota.time_us else pace)
    return replace(
        quota,
        size=max(size * share_bp // BP, LEAST_BYTES) if size else 0,
        time_us=_share_of_time(quota.time_us, share_bp),
    )


def _share_of_time(time_us: int, share_bp: int) -> int:
    """Whole milliseconds, as the kernel counts; never none, which would be no limit."""
    if not time_us:
        return 0
    return max(time_us * share_bp // BP // 1_000 * 1_000, _LEAST_TIME_US)
