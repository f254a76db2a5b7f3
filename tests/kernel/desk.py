"""A whole kernel backend on a simulated DAMON: policies in, writes out, without a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from damos_agent.host.roots import Roots
from damos_agent.host.system import read_exclusive_modules
from damos_agent.kernel.apply import Applier
from damos_agent.kernel.features import profile_of
from damos_agent.kernel.observe import observe
from damos_agent.kernel.planner import Situation, plan
from damos_agent.kernel.wish import Knowledge, desire
from damos_agent.model.damon import Ledger, ObservedKernel, Placement, Plan
from damos_agent.model.errors import KernelError
from damos_agent.model.policy import (
    Action,
    AddressRange,
    Mode,
    Monitoring,
    Pattern,
    PhysicalTarget,
    PidTarget,
    Policy,
    Quota,
    Scheme,
)
from tests.sim.damon import SimulatedDamon

SYSFS = "/sys"
BOOT = "boot-1"
RAM = (AddressRange(0x1000_0000, 0x5000_0000),)


def quiet(_seconds: float) -> None:
    """A sleep that takes no time."""


@dataclass(slots=True)
class SilentJournal:
    """Counts."""

    writes: int = 0
    failures: int = 0

    def wrote(self, path: str, value: str) -> None:
        self.writes += 1

    def refused(self, path: str, value: str, error: KernelError) -> None:
        self.failures += 1


class WithProcesses:
    """DAMON's files, and `/proc/PID` of the simulated processes."""

    def __init__(self, damon: SimulatedDamon) -> None:
        self.damon = damon

    def read(self, path: str) -> str:
        return self.damon.read(path)

    def write(self, path: str, text: str) -> None:
        self.damon.write(path, text)

    def listdir(self, path: str) -> list[str]:
        return self.damon.listdir(path)

    def exists(self, path: str) -> bool:
        if path.startswith("/proc/"):
            return self.damon.host.processes.alive(int(path.removeprefix("/proc/")))
        return self.damon.exists(path)

    def readlink(self, path: str) -> str:
        return self.damon.readlink(path)


@dataclass(slots=True)
class Desk:
    """`saved` is the ledger that a crash leaves behind."""

    damon: SimulatedDamon
    saved: Ledger = field(default_factory=lambda: Ledger(boot_id=BOOT))
    pool: int = 4
    suspend_stat: bool = False
    journal: SilentJournal = field(default_factory=SilentJournal)

    @property
    def applier(self) -> Applier:
        return Applier(WithProcesses(self.damon), SYSFS, "/proc", quiet, self._save, self.journal)

    def _save(self, ledger: Ledger) -> None:
        self.saved = ledger

    def observe(self) -> ObservedKernel:
        return observe(self.damon, SYSFS, read_exclusive_modules(self.damon, Roots()), quiet)

    def _ranges(self, pid: int) -> tuple[AddressRange, ...]:
        process = self.damon.host.processes.table.get(pid)
        return tuple(AddressRange(a, b) for a, b in process.mappings) if process else ()

    def plan(
        self,
        policies: Mapping[str, Policy],
        alive: Mapping[str, tuple[Placement, ...]] | None = None,
        hold: frozenset[str] = frozenset(),
    ) -> Plan:
        features = profile_of(".".join(map(str, self.damon.kernel)))
        observed = self.observe()
        records = {record.policy: (i, record) for i, record in self.saved.slots.items()}
        desired = {}
        for name, policy in policies.items():
            index, record = records.get(name, (-1, None))
            known = Knowledge(
                features,
                self.damon.now_us,
                self._ranges,
                (alive or {}).get(name, _pids(policy)),
                RAM if isinstance(policy.target, PhysicalTarget) else (),
                record,
                observed.slots[index] if 0 <= index < len(observed.slots) else None,
            )
            desired[name] = desire(policy, known)
        situation = Situation(
            observed, self.saved, BOOT, features, self.pool, self.suspend_stat, hold
        )
        return plan(desired, situation)

    def apply(self, made: Plan) -> None:
        for work in made.slots:
            self.saved = self.applier.apply(work, self.saved)

    def settle(
        self,
        policies: Mapping[str, Policy],
        alive: Mapping[str, tuple[Placement, ...]] | None = None,
        *,
        seconds: float = 0.0,
    ) -> int:
        """Plan and apply until in sync; how many writes that took."""
        before = self.journal.writes
        for _ in range(8):
            made = self.plan(policies, alive)
            if made.empty and seconds and any(r.prime_at_us for r in self.saved.slots.values()):
                self.damon.advance(seconds)
                continue
            if made.empty:
                return self.journal.writes - before
            self.apply(made)
            self.damon.advance(seconds)
        raise AssertionError(f"never in sync: {made}")


def _pids(policy: Policy) -> tuple[Placement, ...]:
    if isinstance(policy.target, PidTarget):
        return tuple(Placement(pid, 1) for pid in policy.target.pids)
    return ()


def reclaim(name: str, *pids: int, size: int = 100 << 20) -> Policy:
    """A pageout policy for processes."""
    return Policy(
        name,
        PidTarget(pids),
        (
            Scheme(
                Action.PAGEOUT,
                Pattern(access_max_bp=0, age_min_us=2_000_000),
                quota=Quota(size=size),
            ),
        ),
        mode=Mode.ENFORCE,
        monitoring=Monitoring(),
    )


def with_quota(policy: Policy, size: int) -> Policy:
    """The same policy with another size quota."""
    scheme = policy.schemes[0]
    quota = replace(scheme.quota or Quota(), size=size)
    return replace(policy, schemes=(replace(scheme, quota=quota),))
