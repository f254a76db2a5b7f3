"""What the agent and its monitor process say to each other, and what either tells users."""

from __future__ import annotations

from dataclasses import dataclass

from damos_agent.model.damon import Placement, SchemeStats
from damos_agent.model.policy import Policy


@dataclass(frozen=True, slots=True)
class Rung:
    """One access probe on this machine. `reason`: why it cannot be used; empty when it can.

    `granularity`: page, mapping or cgroup; `sees`: rw or w; `limits`: what it cannot see and what
    it costs; `used_by`: policies of the running agent that it serves.
    """

    name: str
    granularity: str
    sees: str
    limits: str
    experimental: bool = False
    reason: str = ""
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """A policy and the processes it means now, oldest first."""

    policy: Policy
    processes: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class Orders:
    """Everything the monitor process is to do from now on; what is not named ends."""

    works: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer with a `Report`. `snapshots`: with the regions of all policies."""

    number: int
    snapshots: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotRegion:
    """One region of a snapshot: bytes, addresses of process `pid`.

    `nr_accesses` of at most the snapshot's `samples`; `age_us`: how long it has been like that;
    `unknown`: checks that told nothing.
    """

    pid: int
    start: int
    end: int
    nr_accesses: int
    age_us: int
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class IdleBytes:
    """Memory of a cgroup that was surely not used for `idle_us` or longer, by kind.

    With 0 µs: all it has, also what cannot be told.
    """

    idle_us: int
    anonymous_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A policy's regions as of its last aggregation, and how they were found out.

    There are none where `granularity` is cgroup: what is known then has no addresses, and is told
    by `ages`, the longest idle first.
    """

    probe: str
    granularity: str
    sample_us: int
    aggr_us: int
    samples: int
    regions: tuple[SnapshotRegion, ...]
    ages: tuple[IdleBytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Canaries:
    """The gate in front of pageout: bytes sent ahead, come back, and spared for it, so far.

    `no_effect`: why nothing goes, or less than might.
    """

    sent_bytes: int = 0
    back_bytes: int = 0
    spared_bytes: int = 0
    no_effect: str = ""


@dataclass(frozen=True, slots=True)
class AgesCheck:
    """What the multi-gen LRU says of memory that another probe found idle for `idle_us`.

    `verdict`: agrees, contradicts, cannot tell; `why` it cannot. `claimed_bytes` were found idle,
    anonymous and in memory; by its ages it can be `room_bytes` at most.
    """

    verdict: str
    claimed_bytes: int = 0
    idle_us: int = 0
    room_bytes: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class ContextReport:
    """How one policy fares in user space. `refused` says why it cannot run; empty when it does.

    `stretched`: the running sampling interval over the one asked for, when the budget made it
    longer, and `stretch_reason` why; `cpu_bp`: what monitoring takes of a core; `notes`: what
    users should know, such as processes that are left out.

    `ages`: of a cgroup whose memory is known by age only, see `Snapshot`; `targets` then counts
    cgroups.
    """

    policy: str
    refused: str = ""
    probe: str = ""
    granularity: str = ""
    targets: int = 0
    regions: int = 0
    sample_us: int = 0
    aggr_us: int = 0
    schemes: tuple[SchemeStats, ...] = ()
    stretched: float = 1.0
    stretch_reason: str = ""
    cpu_bp: int = 0
    stall_us: int = 0
    notes: tuple[str, ...] = ()
    canaries: Canaries = Canaries()
    ages: tuple[IdleBytes, ...] = ()
    ages_check: AgesCheck | None = None
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the monitor process knows, as of question `number`."""

    number: int
    contexts: tuple[ContextReport, ...] = ()
    rungs: tuple[Rung, ...] = ()


Message = Orders | Ask | Report
