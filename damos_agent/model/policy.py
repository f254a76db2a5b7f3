"""A policy as the rest of the program sees it: validated, in base units, immutable.

Times are microseconds, sizes bytes, shares basis points (1/10000). `None` as an upper bound means
"no bound" (`max`). `config` makes these values from YAML; nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """`observe` installs DAMOS `stat` in place of the action; `enforce` acts."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class BackendChoice(StrEnum):
    """Who monitors and acts."""

    AUTO = "auto"
    KERNEL = "kernel"
    USERSPACE = "userspace"


class ProbeChoice(StrEnum):
    """What tells accesses apart where the agent monitors by itself (`userspace.ladder`)."""

    AUTO = "auto"
    PAGE_IDLE = "page_idle"
    PTE = "pte"
    VMA = "vma"
    MEMCG = "memcg"
    WRITES = "writes"


class Action(StrEnum):
    """DAMOS actions by their sysfs keywords (include/linux/damon.h, enum damos_action)."""

    WILLNEED = "willneed"
    COLD = "cold"
    PAGEOUT = "pageout"
    HUGEPAGE = "hugepage"
    NOHUGEPAGE = "nohugepage"
    COLLAPSE = "collapse"
    LRU_PRIO = "lru_prio"
    LRU_DEPRIO = "lru_deprio"
    MIGRATE_HOT = "migrate_hot"
    MIGRATE_COLD = "migrate_cold"
    STAT = "stat"


class FilterType(StrEnum):
    """DAMOS filter types by their sysfs keywords (enum damos_filter_type)."""

    ANON = "anon"
    MEMCG = "memcg"
    YOUNG = "young"
    HUGEPAGE_SIZE = "hugepage_size"
    UNMAPPED = "unmapped"
    ACTIVE = "active"
    ADDR = "addr"
    TARGET = "target"


class Tuner(StrEnum):
    """How the kernel turns goal scores into a quota (enum damos_quota_goal_tuner)."""

    CONSIST = "consist"
    TEMPORAL = "temporal"


class GoalMetric(StrEnum):
    """What a goal is about. `KERNEL_METRICS` names those the kernel measures or is fed."""

    USER_INPUT = "user_input"
    MEMORY_PSI_SOME = "memory_psi_some"
    NODE_MEM_USED = "node_mem_used"
    NODE_MEM_FREE = "node_mem_free"
    NODE_MEMCG_USED = "node_memcg_used"
    NODE_MEMCG_FREE = "node_memcg_free"
    ACTIVE_MEM = "active_mem"
    INACTIVE_MEM = "inactive_mem"
    NODE_ELIGIBLE_MEM = "node_eligible_mem"
    MEMORY_PSI_FULL = "memory_psi_full"
    IO_PSI_SOME = "io_psi_some"
    IO_PSI_FULL = "io_psi_full"
    RSS = "rss"
    PSS = "pss"
    MEMORY_CURRENT = "memory_current"
    FREE_MEMORY = "free_memory"
    WORKING_SET = "working_set"
    REFAULT_RATE = "refault_rate"
    SWAP_IN_RATE = "swap_in_rate"
    MAJOR_FAULT_RATE = "major_fault_rate"


KERNEL_METRICS: dict[GoalMetric, str] = {
    GoalMetric.USER_INPUT: "user_input",
    GoalMetric.MEMORY_PSI_SOME: "some_mem_psi_us",
    GoalMetric.NODE_MEM_USED: "node_mem_used_bp",
    GoalMetric.NODE_MEM_FREE: "node_mem_free_bp",
    GoalMetric.NODE_MEMCG_USED: "node_memcg_used_bp",
    GoalMetric.NODE_MEMCG_FREE: "node_memcg_free_bp",
    GoalMetric.ACTIVE_MEM: "active_mem_bp",
    GoalMetric.INACTIVE_MEM: "inactive_mem_bp",
    GoalMetric.NODE_ELIGIBLE_MEM: "node_eligible_mem_bp",
}
"""Goal metric → sysfs keyword (enum damos_quota_goal_metric)."""


class MetricUnit(StrEnum):
    """The unit a goal's target is written in and kept in."""

    SHARE = "share"  # basis points
    SIZE = "size"  # bytes
    COUNT = "count"  # any integer
    SHARE_PER_MINUTE = "share_per_minute"  # basis points of the working set per minute


METRIC_UNITS: dict[GoalMetric, MetricUnit] = {
    GoalMetric.USER_INPUT: MetricUnit.COUNT,
    GoalMetric.RSS: MetricUnit.SIZE,
    GoalMetric.PSS: MetricUnit.SIZE,
    GoalMetric.MEMORY_CURRENT: MetricUnit.SIZE,
    GoalMetric.WORKING_SET: MetricUnit.SIZE,
    GoalMetric.REFAULT_RATE: MetricUnit.SHARE_PER_MINUTE,
    GoalMetric.SWAP_IN_RATE: MetricUnit.SHARE_PER_MINUTE,
    GoalMetric.MAJOR_FAULT_RATE: MetricUnit.SHARE_PER_MINUTE,
}
"""Metrics not listed are shares."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a policy came from: the winning file, its digest (sha256 hex), what it masked."""

    path: str = ""
    digest: str = ""
    line: int = 0
    masked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PidTarget:
    """These processes, exactly; gone once they exit."""

    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProcessTarget:
    """Every process that meets all the given conditions.

    `exe`: base name or absolute path of the executable; `cmdline`: regular expression searched in
    the arguments joined by spaces; `user`: login name or numeric uid.
    """

    exe: str | None = None
    cmdline: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class CgroupTarget:
    """Processes of a cgroup v2, by its absolute path inside the hierarchy (`/system.slice/x`)."""

    path: str
    descendants: bool = True


@dataclass(frozen=True, slots=True)
class UnitTarget:
    """Processes of a systemd unit (its cgroup and everything below)."""

    unit: str


@dataclass(frozen=True, slots=True)
class ContainerTarget:
    """Processes of the one container whose id starts with `id_prefix` (hexadecimal)."""

    id_prefix: str


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Half-open [start, end) in bytes."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PhysicalTarget:
    """Physical memory: all System RAM, that of one NUMA node, or the given ranges."""

    numa_node: int | None = None
    ranges: tuple[AddressRange, ...] = ()


Target = PidTarget | ProcessTarget | CgroupTarget | UnitTarget | ContainerTarget | PhysicalTarget


@dataclass(frozen=True, slots=True)
class IntervalsGoal:
    """Kernel auto-tuning of the intervals (6.15+): observe `access_bp` of the possible events."""

    access_bp: int
    aggrs: int
    min_sample_us: int
    max_sample_us: int


@dataclass(frozen=True, slots=True)
class Userspace:
    """Of the agent's own monitor: which probe, and what it may cost.

    `cpu_bp`: of one core, for monitoring; `stall_us`: how long one walk may hold a target's mmap
    lock.
    """

    probe: ProbeChoice = ProbeChoice.AUTO
    cpu_bp: int = 100
    stall_us: int = 20_000


@dataclass(frozen=True, slots=True)
class External:
    """A number from outside: fed to the agent as `feed`, or the first word of file `path`.

    It counts for `stale_us` after it was fed or the file was written.
    """

    feed: str = ""
    path: str = ""
    stale_us: int = 60_000_000


@dataclass(frozen=True, slots=True)
class ExternalLimit:
    """What a number from outside may be at most."""

    source: External
    most: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How much harm a policy that pages out may do; None: any.

    `refaults_bp`: of what is resident, how much may be needed again a minute; `memory_psi_bp` and
    `io_psi_bp`: share of time in which some task may wait; `swap_free_bp`: of the swap space, what
    must stay free; `cpu_bp`: of one core, for kdamond or monitor and the agent.
    """

    refaults_bp: int | None = 20
    memory_psi_bp: int | None = 500
    io_psi_bp: int | None = 3_000
    swap_free_bp: int | None = 1_000
    cpu_bp: int | None = 2_000
    external: tuple[ExternalLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Monitoring attributes; the defaults are the kernel's. `userspace` concerns no kdamond."""

    sample_us: int = 5_000
    aggr_us: int = 100_000
    update_us: int = 1_000_000
    min_regions: int = 10
    max_regions: int = 1_000
    intervals_goal: IntervalsGoal | None = None
    userspace: Userspace = Userspace()


@dataclass(frozen=True, slots=True)
class Pattern:
    """The regions a scheme is about; bounds inclusive, `None` above means no bound.

    `access_bp` is the share of sampling checks that found an access, in basis points. `auto_age`:
    the least age is found out by what would come back.
    """

    size_min: int = 0
    size_max: int | None = None
    access_min_bp: int = 0
    access_max_bp: int | None = None
    age_min_us: int = 0
    age_max_us: int | None = None
    auto_age: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """One quota goal. `target` in the unit of `METRIC_UNITS`; `current` or `source` only for
    user_input. `cgroup`: whose, where the metric knows control groups.
    """

    metric: GoalMetric
    target: int
    current: int | None = None
    nid: int | None = None
    cgroup: str | None = None
    source: External | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """Relative weights of the priority score; only the ratio of the last two matters."""

    size: int = 0
    access_rate: int = 1
    age: int = 1


@dataclass(frozen=True, slots=True)
class FailCharge:
    """Charge `numerator/denominator` of the bytes an action failed on (7.2+)."""

    numerator: int
    denominator: int


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits per `interval_us`: `time_us` of action time, `size` bytes; 0 means no such cap."""

    time_us: int = 0
    size: int = 0
    interval_us: int = 1_000_000
    weights: Weights = Weights()
    goals: tuple[Goal, ...] = ()
    tuner: Tuner = Tuner.CONSIST
    fail_charge: FailCharge | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """`allow` or reject memory that is (`matching`) or is not of `type`.

    Arguments by type: memcg `cgroup`; addr `range`; target `target_index`;
    hugepage_size `size_min`/`size_max` in bytes.
    """

    type: FilterType
    allow: bool
    matching: bool = True
    cgroup: str | None = None
    range: AddressRange | None = None
    target_index: int | None = None
    size_min: int | None = None
    size_max: int | None = None


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Act only while the free-memory rate is in band; permil of total memory (kernel's unit)."""

    interval_us: int
    high_permil: int
    mid_permil: int
    low_permil: int


@dataclass(frozen=True, slots=True)
class Destination:
    """A NUMA node to migrate to and its relative weight."""

    nid: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Scheme:
    """What to do with which regions, how often, and within which limits."""

    action: Action
    pattern: Pattern = Pattern()
    apply_interval_us: int | None = None
    quota: Quota | None = None
    filters: tuple[Filter, ...] = ()
    watermarks: Watermarks | None = None
    destinations: tuple[Destination, ...] = ()
    max_nr_snapshots: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy file, whole."""

    name: str
    target: Target
    schemes: tuple[Scheme, ...]
    mode: Mode = Mode.OBSERVE
    backend: BackendChoice = BackendChoice.AUTO
    monitoring: Monitoring = Monitoring()
    guard: Limits = Limits()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    origin: Origin = Origin()
