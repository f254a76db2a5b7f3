"""What each kernel release knows: keywords and behaviour (sysfs-abi, §3, §4 and §10.3)."""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, int]


def parse_version(text: str) -> Version:
    """`6.12`, `6.12.117` or `7.3.4+deb13` as (6, 12) or (7, 3)."""
    major, minor = text.split(".")[:2]
    digits = minor[: next((i for i, c in enumerate(minor) if not c.isdigit()), len(minor))]
    return int(major), int(digits)


RELEASES: tuple[str, ...] = (
    *("5.19", "6.0", "6.1", "6.2", "6.3", "6.4", "6.5", "6.6", "6.7", "6.8", "6.9", "6.10"),
    *("6.11", "6.12", "6.13", "6.14", "6.15", "6.16", "6.17", "6.18", "6.19"),
    *("7.0", "7.1", "7.2", "7.3"),
)

Words = tuple[tuple[str, Version], ...]

OPERATIONS: Words = (("vaddr", (5, 18)), ("fvaddr", (5, 19)), ("paddr", (5, 18)))
ACTIONS: Words = (
    ("willneed", (5, 18)),
    ("cold", (5, 18)),
    ("pageout", (5, 18)),
    ("hugepage", (5, 18)),
    ("nohugepage", (5, 18)),
    ("collapse", (7, 2)),
    ("lru_prio", (6, 0)),
    ("lru_deprio", (6, 0)),
    ("migrate_hot", (6, 11)),
    ("migrate_cold", (6, 11)),
    ("stat", (5, 18)),
)
CORE_FILTERS: Words = (("addr", (6, 6)), ("target", (6, 6)))
OPS_FILTERS: Words = (
    ("anon", (6, 3)),
    ("memcg", (6, 3)),
    ("young", (6, 10)),
    ("hugepage_size", (6, 15)),
    ("unmapped", (6, 15)),
    ("active", (6, 15)),
)
GOAL_METRICS: Words = (
    ("user_input", (6, 9)),
    ("some_mem_psi_us", (6, 9)),
    ("node_mem_used_bp", (6, 16)),
    ("node_mem_free_bp", (6, 16)),
    ("node_memcg_used_bp", (6, 19)),
    ("node_memcg_free_bp", (6, 19)),
    ("active_mem_bp", (7, 0)),
    ("inactive_mem_bp", (7, 0)),
    ("node_eligible_mem_bp", (7, 2)),
)
TUNERS: Words = (("consist", (7, 1)), ("temporal", (7, 1)))
WATERMARKS: Words = (("none", (5, 18)), ("free_mem_rate", (5, 18)))
PROBE_FILTERS: Words = (("anon", (7, 2)), ("memcg", (7, 2)))
COMMANDS: Words = (
    ("on", (5, 18)),
    ("off", (5, 18)),
    ("commit", (5, 19)),
    ("commit_schemes_quota_goals", (6, 8)),
    ("update_schemes_stats", (5, 18)),
    ("update_schemes_tried_bytes", (6, 6)),
    ("update_schemes_tried_regions", (6, 2)),
    ("clear_schemes_tried_regions", (6, 2)),
    ("update_schemes_effective_quotas", (6, 9)),
    ("update_tuned_intervals", (6, 15)),
)

PADDR_ACTIONS: Words = (
    ("pageout", (5, 18)),
    ("lru_prio", (6, 0)),
    ("lru_deprio", (6, 0)),
    ("migrate_hot", (6, 11)),
    ("migrate_cold", (6, 11)),
)
VADDR_ACTIONS: Words = (
    ("willneed", (5, 18)),
    ("cold", (5, 18)),
    ("pageout", (5, 18)),
    ("hugepage", (5, 18)),
    ("nohugepage", (5, 18)),
    ("collapse", (7, 2)),
    ("migrate_hot", (6, 17)),
    ("migrate_cold", (6, 17)),
)


def known(words: Words, version: Version) -> tuple[str, ...]:
    """The keywords of `words` that `version` accepts."""
    return tuple(word for word, since in words if since <= version)


def boolean_letters(version: Version) -> tuple[str, str]:
    """First letters kstrtobool takes for yes and for no: `enable` and `disable` since 6.14."""
    return ("yYtT1eE", "nNfF0dD") if version >= (6, 14) else ("yYtT1", "nNfF0")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Differences between releases that no file shows.

    `commit_lies`: a failed commit reports success and ends the kdamond (≤ 6.14).
    `dead_is_cancelled`: commands to an ended kdamond give ECANCELED (7.0), else EINVAL.
    `dead_requests_stay`: a command refused by an ended kdamond stays queued (6.14 to 6.19):
    the next one meets EBUSY.
    `dead_requests_corrupt`: the next one panics the kernel instead, if it is one of the calls
    (6.17 to 6.19; seen on 6.17.13, fixed in later stable releases of 6.18).
    `off_is_idempotent`: `off` on an ended kdamond succeeds (7.3), else EPERM.
    `clear_when_off`: clear_schemes_tried_regions needs no running kdamond (6.14).
    `locked_paths`: cgroup path files take the lock.
    `equal_attrs_skipped`: a commit of equal attributes restarts nothing (6.18).
    `first_window_limited`: the first charge window has an effective quota (6.18).
    `strict_min_regions`: regions are cut at start to reach min_nr_regions (7.1).
    `zero_crossing_resets_age`: going idle or busy resets the age (6.18).
    `zero_quota_stops`: an effective quota of 0 means none at all, not unlimited (7.2.9).
    `strict_ranges`: staged ranges are checked after rounding (6.12.101, 7.1).
    `joins_staged_regions`: adjacent staged regions become one range at commit (7.3).
    """

    commit_lies: bool
    dead_is_cancelled: bool
    dead_requests_stay: bool
    dead_requests_corrupt: bool
    off_is_idempotent: bool
    clear_when_off: bool
    locked_paths: bool
    equal_attrs_skipped: bool
    first_window_limited: bool
    strict_min_regions: bool
    zero_crossing_resets_age: bool
    zero_quota_stops: bool
    strict_ranges: bool
    joins_staged_regions: bool


def behaviour(version: Version, commit_lies: bool | None = None) -> Behaviour:
    """The behaviour of `version` at the point release the lab has; `commit_lies` overrides."""
    return Behaviour(
        commit_lies=version <= (6, 14) if commit_lies is None else commit_lies,
        dead_is_cancelled=version >= (7, 0),
        dead_requests_stay=(6, 14) <= version < (7, 0),
        dead_requests_corrupt=(6, 17) <= version < (7, 0),
        off_is_idempotent=version >= (7, 3),
        clear_when_off=version >= (6, 14),
        locked_paths=version >= (6, 12),
        equal_attrs_skipped=version >= (6, 18),
        first_window_limited=version >= (6, 18),
        strict_min_regions=version >= (7, 1),
        zero_crossing_resets_age=version >= (6, 18),
        zero_quota_stops=version >= (7, 2),
        strict_ranges=version == (6, 12) or version >= (7, 1),
        joins_staged_regions=version >= (7, 3),
    )
