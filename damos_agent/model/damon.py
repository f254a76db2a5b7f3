"""DAMON contexts in the kernel's own units, what was observed of them, and plans to change them.

A *tree* maps a file path below one kdamond's directory to its text (no trailing newline), in the
order in which files must be written. `nr_*` files of `COLLECTIONS` create numbered children;
the kernel wipes all children on any write to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from damos_agent.model.feature import Ops
from damos_agent.model.policy import AddressRange
from damos_agent.model.sha256 import sha256

Tree = dict[str, str]

COLLECTIONS = frozenset(
    {
        "nr_contexts",
        "nr_targets",
        "nr_regions",
        "nr_schemes",
        "nr_goals",
        "nr_filters",
        "nr_dests",
        "nr_probes",
    }
)

PLACEHOLDER_PID = 2
"""kthreadd: a pid that always exists and has no memory, so a target naming it sees and does
nothing. It keeps the index of a target whose process has gone, because `commit` matches targets
by index and would hand the dead one's regions and ages to its successor."""


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """One monitoring target. `regions` are staged once, for a target that is new at its index."""

    pid: int = 0
    regions: tuple[AddressRange, ...] = ()


@dataclass(frozen=True, slots=True)
class GoalSpec:
    """A quota goal; `metric` is the sysfs keyword, values in that metric's kernel unit."""

    metric: str
    target_value: int
    current_value: int = 0
    nid: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """A DAMOS filter as sysfs wants it."""

    type: str
    matching: bool
    allow: bool = False
    memcg_path: str = ""
    addr_start: int = 0
    addr_end: int = 0
    target_idx: int = 0
    min: int = 0
    max: int = 0


@dataclass(frozen=True, slots=True)
class DestSpec:
    """A migration destination."""

    id: int
    weight: int


@dataclass(frozen=True, slots=True)
class SchemeSpec:
    """A scheme in counts: nr_accesses per aggregation, age in aggregations."""

    action: str
    sz_min: int = 0
    sz_max: int = 0
    nr_accesses_min: int = 0
    nr_accesses_max: int = 0
    age_min: int = 0
    age_max: int = 0
    target_nid: int = -1
    apply_interval_us: int = 0
    quota_ms: int = 0
    quota_bytes: int = 0
    reset_interval_ms: int = 0
    goal_tuner: str = "consist"
    fail_charge_num: int = 0
    fail_charge_denom: int = 0
    weight_sz: int = 0
    weight_nr_accesses: int = 0
    weight_age: int = 0
    goals: tuple[GoalSpec, ...] = ()
    wmark_metric: str = "none"
    wmark_interval_us: int = 0
    wmark_high: int = 0
    wmark_mid: int = 0
    wmark_low: int = 0
    core_filters: tuple[FilterSpec, ...] = ()
    ops_filters: tuple[FilterSpec, ...] = ()
    filters: tuple[FilterSpec, ...] = ()
    dests: tuple[DestSpec, ...] = ()
    max_nr_snapshots: int = 0


@dataclass(frozen=True, slots=True)
class ContextSpec:
    """One DAMON context, the whole configuration of one kdamond."""

    ops: Ops
    targets: tuple[TargetSpec, ...]
    schemes: tuple[SchemeSpec, ...]
    sample_us: int = 5_000
    aggr_us: int = 100_000
    update_us: int = 60_000_000
    goal_access_bp: int = 0
    goal_aggrs: int = 0
    goal_min_sample_us: int = 0
    goal_max_sample_us: int = 0
    min_nr_regions: int = 10
    max_nr_regions: int = 1_000


@dataclass(frozen=True, slots=True)
class ObservedSlot:
    """One kdamond directory: is a thread running, its pid (-1: none), the staged tree."""

    running: bool
    pid: int
    tree: Tree


@dataclass(frozen=True, slots=True)
class ObservedKernel:
    """Every kdamond directory, and the exclusive DAMON modules that run (`damon_stat` …)."""

    slots: tuple[ObservedSlot, ...]
    exclusive: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """Which process sits at a target index: pid and start time in clock ticks since boot."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What we know of a slot of ours: whose it is and what was committed last.

    `digest` is that of the committed tree (`tree_digest`); empty before the first `on`. `intent`
    is that of the tree which is being put in force; empty again once it is. After a crash it tells
    that what is there, half of the one and half of the other, is our own doing.
    `kdamond_pid` is the thread we started. `primed` tells for each scheme whether its quota
    has seen its first window (see `planner`), `prime_at_us` when the open ones will have.
    """

    policy: str
    digest: str = ""
    kdamond_pid: int = -1
    placements: tuple[Placement, ...] = ()
    base_intervals: tuple[int, int] = (0, 0)
    primed: tuple[bool, ...] = ()
    prime_at_us: int = 0
    intent: str = ""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the agent owns on this boot; kept in /run so that a crash forgets nothing."""

    boot_id: str = ""
    pool: int = 0
    slots: dict[int, SlotRecord] = field(default_factory=dict)
    suspended_damon_stat: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """Put `value` in the file `path` below `admin/kdamonds/`; `old` is what it held."""

    path: str
    value: str
    old: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """Write keyword `word` to the `state` file of kdamond `slot`."""

    slot: int
    word: str


@dataclass(frozen=True, slots=True)
class RequirePids:
    """Go on only while all `pids` exist: a dead one fails (≤ 6.14: kills) the whole context."""

    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SwitchModule:
    """Switch the exclusive module `name` on or off through its `enabled` parameter."""

    name: str
    on: bool


Step = Write | Command | RequirePids | SwitchModule


class Change(StrEnum):
    """What a slot's plan amounts to."""

    POOL = "pool"
    START = "start"
    RESTART = "restart"
    COMMIT = "commit"
    GOALS = "goals"
    TIDY = "tidy"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """Ordered steps for one slot (-1: the pool as a whole) and the record to keep when done.

    `restore` is the staged tree to put back if a step fails, so that what is staged and what runs
    never differ for long. `reason` says in words what differed.
    """

    slot: int
    policy: str
    change: Change
    steps: tuple[Step, ...]
    record: SlotRecord | None = None
    restore: Tree | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to do now, in order, and why some policies get nothing (`unsupported`)."""

    slots: tuple[SlotPlan, ...] = ()
    unsupported: dict[str, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """In sync: nothing will be written."""
        return not self.slots

    @property
    def writes(self) -> int:
        """How many write(2) calls on sysfs the plan takes."""
        steps = (step for slot in self.slots for step in slot.steps)
        return sum(not isinstance(step, RequirePids) for step in steps)


@dataclass(frozen=True, slots=True)
class SchemeStats:
    """A scheme's counters since it was created, and its quota as last told by the kernel.

    Bytes in `sz_*`. `None`: this kernel does not tell.
    """

    nr_tried: int = 0
    sz_tried: int = 0
    nr_applied: int = 0
    sz_applied: int = 0
    qt_exceeds: int = 0
    sz_ops_filter_passed: int | None = None
    nr_snapshots: int | None = None
    effective_bytes: int | None = None
    tried_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SlotStats:
    """What one running kdamond reports; intervals are the running (maybe tuned) ones."""

    schemes: tuple[SchemeStats, ...]
    sample_us: int
    aggr_us: int


def is_transient(tree: Tree, path: str) -> bool:
    """Target regions of processes are staged for one commit; those of physical memory stay."""
    return "/regions/" in path and not _keeps_regions(tree)


def _keeps_regions(tree: Tree) -> bool:
    return tree.get("contexts/0/operations") == Ops.PADDR


def tree_digest(tree: Tree) -> str:
    """Fingerprint of a staged tree, without what is staged for one commit only.

    Staged target regions are transient, and auto-tuned intervals are overwritten by the kernel.
    """
    tuned = tree.get("contexts/0/monitoring_attrs/intervals/intervals_goal/aggrs", "0") != "0"
    passing = ("/sample_us", "/aggr_us") if tuned else ()
    kept = _keeps_regions(tree)  # once, not for each path
    lines = [
        f"{path}={value}\n"
        for path, value in sorted(tree.items())
        if (kept or "/regions/" not in path) and not path.endswith(passing)
    ]
    return sha256("".join(lines).encode()).hexdigest()
