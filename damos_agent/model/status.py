"""What the agent says of itself and of every policy: the status socket, outcomes and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from damos_agent.model.userspace import AgesCheck, Canaries, IdleBytes, Rung


class PolicyState(StrEnum):
    """Where a policy stands.

    `active` acts; `paused` would, but is held; `observing` only counts; `waiting` has no process to
    look after yet; `unsupported` cannot run on this kernel or beside others' kdamonds; `failed` was
    refused by the kernel and is retried; `drifted` was changed from outside and is let be or only
    reported.
    """

    ACTIVE = "active"
    PAUSED = "paused"
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
    """A goal's target and current value in the metric's own unit; None when not measurable.

    `tuner`: kernel, monitor (user space) or agent, and `why` the agent; `step`: why its quota is
    what it is (`algo.steer.Reason`).
    """

    metric: str
    unit: str
    target: int
    current: int | None
    tuner: str = ""
    why: str = ""
    step: str = ""


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
class GuardStatus:
    """How far a policy's guard has gone (`algo.guard.Stage`), and why.

    `share_bp` of the quotas is allowed; `until_s`: seconds of hold-off left; `levels`: by signal,
    10000 is all that is allowed, None: it cannot be read.
    """

    stage: str
    share_bp: int
    signal: str = ""
    why: str = ""
    until_s: float | None = None
    trips: int = 0
    levels: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColdBytes:
    """Of one age: `cold` bytes idle for so long now, and what of that would come back a minute, in
    bytes, of the working set, and with 95 % certainty at most; not `enough` seen: too low.
    """

    age_us: int
    cold: int
    back: int
    back_bp: int
    at_most_bp: int
    enough: bool


@dataclass(frozen=True, slots=True)
class Predicted:
    """What scheme `index` would do: bytes that match now, that go at once, and per second later;
    and what would come back a minute, in bytes and of the working set (None: nobody can tell).
    """

    index: int
    matched: int
    first: int
    per_s: int
    back: int | None
    back_bp: int | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the history of accesses says. `age_us`: chosen for `age: auto`, None: none yet, with
    the `reason` (`algo.auto_age.Reason`); `why` regions cannot be had. Bytes and basis points.
    """

    age_us: int | None
    reason: str
    why: str
    working_set: int
    ages: tuple[ColdBytes, ...] = ()
    schemes: tuple[Predicted, ...] = ()


@dataclass(frozen=True, slots=True)
class Worth:
    """What a policy's last outcome record says in short (`algo.record.OutcomeRecord`).

    `refaults`: pages needed again, ever; the rest of the last interval. None: not known.
    """

    limited_by: str
    reason: str
    interval_us: int
    refaults: int | None
    gross: int | None
    net: int | None
    cpu_us: int | None


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """One policy now. `reason` explains every state but active and observing.

    `notes`: what users should know although it runs, such as others that act on the same
    processes. `age_s`: how old the figures of `schemes` and `regions` are; they are read once per
    outcome interval. `guard`: of what pages out.

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
    guard: GuardStatus | None = None
    worth: Worth | None = None
    forecast: Forecast | None = None
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
