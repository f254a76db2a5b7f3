"""What the agent says of itself and of every policy: the status socket, outcomes and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from damos_agent.model.userspace import AgesCheck, Canaries, IdleBytes, Rung


class PolicyState(StrEnum):
    """Where a policy stands.

    `active` acts; `observing` only counts; `waiting` has no process to look after yet;
    `unsupported` cannot run on this kernel or beside others' kdamonds; `failed` was refused by the
    kernel and is retried; `drifted` was changed from outside and is let be or only reported.
    """

    ACTIVE = "active"
    OBSERVING = "observing"
    WAITING = "waiting"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"
    DRIFTED = "drifted"


class Fallback(StrEnum):
    """Why the kernel does not serve a policy.

    `asked`: the policy says so; `no_damon` for such a target; `unsupported`: it lacks a feature, or
    could not be asked; `foreign_kdamonds` occupy DAMON, or an `exclusive_module` does; `no_slot` is
    left; `refused`: again and again.
    """

    ASKED = "asked"
    NO_DAMON = "no_damon"
    UNSUPPORTED = "unsupported"
    FOREIGN = "foreign_kdamonds"
    EXCLUSIVE = "exclusive_module"
    NO_SLOT = "no_slot"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class GoalStatus:
    """A goal's target and current value in the metric's own unit; None when not measurable."""

    metric: str
    unit: str
    target: int
    current: int | None


@dataclass(frozen=True, slots=True)
class SchemeOutcome:
    """One scheme over one interval: `*_delta` within the interval, the rest since it was created.

    Bytes in `sz_*` and `*_bytes`. `action` is what the policy asks for, also while observing.
    """

    index: int
    action: str
    nr_tried: int
    sz_tried: int
    nr_applied: int
    sz_applied: int
    qt_exceeds: int
    nr_tried_delta: int
    sz_tried_delta: int
    nr_applied_delta: int
    sz_applied_delta: int
    qt_exceeds_delta: int
    quota_bytes: int
    effective_bytes: int | None
    matched_bytes: int | None = None
    goals: tuple[GoalStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """One policy now. `reason` explains every state but active and observing.

    `notes`: what users should know although it runs, such as others that act on the same
    processes. `age_s`: how old the figures of `schemes` and `regions` are; they are read once per
    outcome interval.

    `backend_reason`: why the kernel does not serve it, and `fallback` in one word, while user space
    does; that stays until it goes back. From `probe` on it concerns user space only,
    with the meanings of `model.userspace.ContextReport`.
    """

    name: str
    state: PolicyState
    mode: str
    backend: str
    path: str
    digest: str
    reason: str = ""
    slot: int = -1
    kdamond_pid: int = -1
    targets: int = 0
    target: str = ""
    regions: int | None = None
    sample_us: int = 0
    aggr_us: int = 0
    schemes: tuple[SchemeOutcome, ...] = ()
    stale_since: float | None = None
    last_error: str = ""
    bad_file: tuple[str, ...] = ()
    backend_reason: str = ""
    fallback: Fallback | None = None
    probe: str = ""
    granularity: str = ""
    stretched: float = 1.0
    stretch_reason: str = ""
    cpu_bp: int | None = None
    notes: tuple[str, ...] = ()
    age_s: float | None = None
    canaries: Canaries | None = None
    ages: tuple[IdleBytes, ...] = ()
    ages_check: AgesCheck | None = None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The whole agent. Times are seconds since the epoch.

    `rejected`: findings in files that were never good, in agent.yaml and in directories, of which
    there are `rejected_files`; of files whose last good versions go on the policies tell.
    `compile_error`: why the last reload could not read any, so that everything goes on as it was.
    """

    version: str
    pid: int
    started: float
    now: float
    kernel: str
    backend: str
    backend_reason: str
    policies: tuple[PolicyStatus, ...]
    rejected: tuple[str, ...] = ()
    rejected_files: int = 0
    last_reload: float = 0.0
    last_reload_ok: bool = True
    compile_error: str = ""
    reloads: int = 0
    reload_failures: int = 0
    sysfs_writes: int = 0
    sysfs_write_failures: int = 0
    drift: dict[str, int] = field(default_factory=dict)
    foreign_kdamonds: int = 0
    pool: int = 0
    probes: tuple[Rung, ...] = ()
    monitor_pid: int | None = None
