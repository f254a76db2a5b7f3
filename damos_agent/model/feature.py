"""What a kernel's DAMON can do, as a closed list, and how we know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from damos_agent.model.errors import UnsupportedError


class Feature(StrEnum):
    """One capability of the DAMON sysfs interface; values are stable and appear in output."""

    SYSFS = "sysfs"
    COMMIT = "commit"
    TRIED_REGIONS = "tried_regions"
    FILTERS = "filters"
    ADDR_TARGET_FILTERS = "addr_target_filters"
    TRIED_BYTES = "tried_bytes"
    APPLY_INTERVAL = "apply_interval"
    GOALS = "goals"
    PSI_GOAL = "psi_goal"
    EFFECTIVE_QUOTA = "effective_quota"
    YOUNG_FILTER = "young_filter"
    LRU_ACTIONS = "lru_actions"
    MIGRATE = "migrate"
    FILTER_ALLOW = "filter_allow"
    SYNC_COMMANDS = "sync_commands"
    RELIABLE_COMMIT = "reliable_commit"
    INTERVALS_GOAL = "intervals_goal"
    FILTER_LAYERS = "filter_layers"
    PAGE_STATE_FILTERS = "page_state_filters"
    NODE_MEM_GOALS = "node_mem_goals"
    DESTS = "dests"
    VADDR_MIGRATE = "vaddr_migrate"
    REFRESH = "refresh"
    ADDR_UNIT = "addr_unit"
    FIRST_WINDOW_QUOTA = "first_window_quota"
    OBSOLETE_TARGET = "obsolete_target"
    MEMCG_GOALS = "memcg_goals"
    NR_SNAPSHOTS = "nr_snapshots"
    LRU_GOALS = "lru_goals"
    GOAL_TUNER = "goal_tuner"
    PAUSE = "pause"
    FAIL_CHARGE = "fail_charge"
    PROBES = "probes"
    COLLAPSE = "collapse"
    NODE_ELIGIBLE_GOAL = "node_eligible_goal"
    PROBE_WEIGHTS = "probe_weights"


SINCE: dict[Feature, tuple[int, int]] = {
    Feature.SYSFS: (5, 18),
    Feature.COMMIT: (5, 19),
    Feature.LRU_ACTIONS: (6, 0),
    Feature.TRIED_REGIONS: (6, 2),
    Feature.FILTERS: (6, 3),
    Feature.ADDR_TARGET_FILTERS: (6, 6),
    Feature.TRIED_BYTES: (6, 6),
    Feature.APPLY_INTERVAL: (6, 7),
    Feature.GOALS: (6, 8),
    Feature.PSI_GOAL: (6, 9),
    Feature.EFFECTIVE_QUOTA: (6, 9),
    Feature.YOUNG_FILTER: (6, 10),
    Feature.MIGRATE: (6, 11),
    Feature.FILTER_ALLOW: (6, 14),
    Feature.SYNC_COMMANDS: (6, 14),
    Feature.RELIABLE_COMMIT: (6, 15),
    Feature.INTERVALS_GOAL: (6, 15),
    Feature.FILTER_LAYERS: (6, 15),
    Feature.PAGE_STATE_FILTERS: (6, 15),
    Feature.NODE_MEM_GOALS: (6, 16),
    Feature.DESTS: (6, 17),
    Feature.VADDR_MIGRATE: (6, 17),
    Feature.REFRESH: (6, 17),
    Feature.ADDR_UNIT: (6, 18),
    Feature.FIRST_WINDOW_QUOTA: (6, 18),
    Feature.OBSOLETE_TARGET: (6, 19),
    Feature.MEMCG_GOALS: (6, 19),
    Feature.NR_SNAPSHOTS: (7, 0),
    Feature.LRU_GOALS: (7, 0),
    Feature.GOAL_TUNER: (7, 1),
    Feature.PAUSE: (7, 2),
    Feature.FAIL_CHARGE: (7, 2),
    Feature.PROBES: (7, 2),
    Feature.COLLAPSE: (7, 2),
    Feature.NODE_ELIGIBLE_GOAL: (7, 2),
    Feature.PROBE_WEIGHTS: (7, 3),
}
"""First mainline release of each. Vendor kernels backport, so probing comes first."""


class Ops(StrEnum):
    """DAMON operation sets."""

    VADDR = "vaddr"
    FVADDR = "fvaddr"
    PADDR = "paddr"


class Source(StrEnum):
    """Where a feature list came from, best first."""

    TREE = "tree"
    BTF = "btf"
    VERSION = "version"
    PROFILE = "profile"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Features:
    """`present` features, usable operation sets `ops`, and the `source` of the knowledge.

    `release` is `uname -r` or the profile's name; `detail` says in words why something is
    missing as a whole (no DAMON built in, for example).
    """

    release: str
    source: Source
    present: frozenset[Feature] = frozenset()
    ops: frozenset[Ops] = frozenset()
    detail: str = ""

    def __contains__(self, feature: Feature) -> bool:
        """Whether the kernel has `feature`."""
        return feature in self.present


def profile(release: str, version: tuple[int, int]) -> Features:
    """The features of a mainline kernel of `version`, every operation set built in."""
    present = frozenset(feature for feature, since in SINCE.items() if since <= version)
    return Features(release, Source.PROFILE, present, frozenset(Ops) if present else frozenset())


def missing_feature(feature: Feature, features: Features, what: str) -> UnsupportedError:
    """The error for `what` that needs `feature` where `features` lack it."""
    major, minor = SINCE[feature]
    return UnsupportedError(
        f"{what} needs DAMON feature '{feature}', which kernel {features.release} lacks",
        hint=f"it came with Linux {major}.{minor}",
    )
