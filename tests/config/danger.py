"""When one policy is more dangerous than another: it may act on more memory, or do more of it."""

from __future__ import annotations

from damos_agent.model.policy import (
    Action,
    Filter,
    Mode,
    Pattern,
    Policy,
    Quota,
    Scheme,
    Watermarks,
)

_UNBOUNDED = 2**64


def dangers(before: Policy, after: Policy) -> list[str]:
    """What `after` may do that `before` may not; empty when it is at most as dangerous.

    Dangerous: acting instead of observing; another target; another action than stat; a scheme
    more; a pattern that matches more; a quota removed, larger, per shorter time, or uncapped; goals
    dropped; a filter dropped or changed; watermarks dropped or with a wider band; other nodes.
    """
    found: list[str] = []
    if (before.mode, after.mode) == (Mode.OBSERVE, Mode.ENFORCE):
        found.append("mode")
    if before.target != after.target:
        found.append("target")
    acting = [scheme for scheme in after.schemes if scheme.action is not Action.STAT]
    if len(acting) > sum(scheme.action is not Action.STAT for scheme in before.schemes):
        found.append("schemes")
    for scheme in acting:
        # The scheme it came from: a dropped neighbour must not make the rest look new.
        ranked = sorted((len(one), one) for one in _origins(before, scheme))
        found += ranked[0][1]
    return found


def _origins(before: Policy, scheme: Scheme) -> list[list[str]]:
    return [_scheme_dangers(old, scheme) for old in before.schemes]


def _scheme_dangers(old: Scheme, new: Scheme) -> list[str]:
    found: list[str] = []
    if new.action is not old.action:
        found.append("action")
    found += _pattern_dangers(old.pattern, new.pattern)
    found += _quota_dangers(old.quota, new.quota)
    if not _filters_kept(old.filters, new.filters):
        found.append("filters")
    if not _watermarks_kept(old.watermarks, new.watermarks):
        found.append("watermarks")
    if old.destinations != new.destinations:
        found.append("destinations")
    if old.max_nr_snapshots and new.max_nr_snapshots > old.max_nr_snapshots:
        found.append("max_nr_snapshots")
    return found


def _pattern_dangers(old: Pattern, new: Pattern) -> list[str]:
    def high(value: int | None) -> int:
        return _UNBOUNDED if value is None else value

    wider = {
        "size": new.size_min < old.size_min or high(new.size_max) > high(old.size_max),
        "access_rate": new.access_min_bp < old.access_min_bp
        or min(high(new.access_max_bp), 10_000) > min(high(old.access_max_bp), 10_000),
        "age": new.age_min_us < old.age_min_us or high(new.age_max_us) > high(old.age_max_us),
    }
    return [f"pattern.{name}" for name, is_wider in wider.items() if is_wider]


def _quota_dangers(old: Quota | None, new: Quota | None) -> list[str]:
    if old is None:
        return []
    if new is None:
        return ["quota"]
    found = []
    for name in ("time_us", "size"):
        was, now = getattr(old, name), getattr(new, name)
        if was and (not now or now * old.interval_us > was * new.interval_us):
            found.append(f"quota.{name}")
    if old.goals and not new.goals:
        found.append("quota.goals")
    return found


def _filters_kept(old: tuple[Filter, ...], new: tuple[Filter, ...]) -> bool:
    return new[: len(old)] == old


def _watermarks_kept(old: Watermarks | None, new: Watermarks | None) -> bool:
    if old is None or old == new:
        return True
    if new is None:
        return False
    return new.high_permil <= old.high_permil and new.low_permil >= old.low_permil
