"""A whole simulated machine with a reconciler on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog
from structlog.testing import LogCapture

from damos_agent.agent.reconciler import Reconciler, Round
from damos_agent.agent.survey import Machine
from damos_agent.host.roots import Roots
from damos_agent.host.targets import TargetReader
from damos_agent.kernel.apply import Applier
from damos_agent.kernel.features import profile_of
from damos_agent.model.damon import Ledger
from damos_agent.model.errors import KernelError
from damos_agent.model.policy import Origin, Policy
from damos_agent.model.settings import Settings
from tests.host.fakes import stat_line
from tests.kernel.desk import quiet
from tests.sim.damon import SimulatedDamon
from tests.sim.machine import SimulatedMachine

BOOT_ID = "11111111-2222-3333-4444-555555555555"
MAPS = """\
400000-40000000 rw-p 00000000 00:00 0
7f0000000000-7f0010000000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
"""


@dataclass(slots=True)
class Journal:
    """Counts writes and refusals."""

    writes: int = 0
    failures: int = 0

    def wrote(self, path: str, value: str) -> None:
        self.writes += 1

    def refused(self, path: str, value: str, error: KernelError) -> None:
        self.failures += 1


@dataclass(slots=True)
class World:
    """`saved` is what a crash leaves in /run; `restart` is a new agent on the same machine."""

    kernel: str = "7.3"
    modules: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    saved: Ledger = field(default_factory=Ledger)
    journal: Journal = field(default_factory=Journal)
    log: LogCapture = field(default_factory=LogCapture)
    roots: Roots = field(default_factory=Roots)
    dry_run: bool = False
    damon: SimulatedDamon = field(init=False)
    machine: SimulatedMachine = field(init=False)
    reconciler: Reconciler = field(init=False)
    _ticks: int = 100

    def __post_init__(self) -> None:
        self.damon = SimulatedDamon(self.kernel, modules_running=self.modules)
        files = {
            "/proc/sys/kernel/random/boot_id": f"{BOOT_ID}\n",
            "/proc/sys/kernel/osrelease": f"{self.kernel}.1\n",
            "/proc/uptime": "1000.00 1.00\n",
            "/proc/iomem": "00001000-7fffffff : System RAM\n",
        }
        self.machine = SimulatedMachine(self.damon, files, {"/proc/self": "1"})
        self.restart()

    def restart(self, sleep: Callable[[float], None] = quiet, settle_s: float = 0.0) -> None:
        """A new agent finds what the old one left."""
        roots = self.roots
        machine = Machine(
            self.machine, roots, profile_of(self.kernel), TargetReader(self.machine, roots), quiet
        )
        applier = Applier(self.machine, "/sys", "/proc", sleep, self._save, self.journal, settle_s)
        logger = structlog.wrap_logger(None, processors=[self.log])
        self.reconciler = Reconciler(machine, applier, self.saved, logger, dry_run=self.dry_run)
        self.reconciler.adopt()

    def _save(self, ledger: Ledger) -> None:
        self.saved = ledger

    def spawn(self, exe: str = "work") -> int:
        """A live process."""
        pid = self.damon.spawn()
        self._ticks += 1
        base = f"/proc/{pid}"
        self.machine.files |= {
            f"{base}/stat": stat_line(pid, exe, start=self._ticks),
            f"{base}/maps": MAPS,
            f"{base}/cmdline": f"/bin/{exe}\0",
            f"{base}/status": "Uid:\t0\t0\t0\t0\n",
            f"{base}/cgroup": "0::/\n",
        }
        self.machine.links[f"{base}/exe"] = f"/bin/{exe}"
        return pid

    def kill(self, pid: int) -> None:
        """It exits and is reaped."""
        self.damon.kill(pid)
        for table in (self.machine.files, self.machine.links):
            for path in [p for p in table if p.startswith(f"/proc/{pid}/")]:
                del table[path]

    def advance(self, seconds: float) -> None:
        """Time passes for DAMON and for the boot clock."""
        self.damon.advance(seconds)
        now = float(self.machine.files["/proc/uptime"].split()[0]) + seconds
        self.machine.files["/proc/uptime"] = f"{now:.2f} 1.00\n"

    def go(self, *policies: Policy) -> Round:
        """One round with these policies; an equal policy keeps its digest."""
        known = {
            p.name: replace(p, origin=Origin(f"/etc/{p.name}.yaml", str(hash(repr(p)))))
            for p in policies
        }
        return self.reconciler.reconcile(known, self.settings)

    def events(self, name: str) -> list[dict[str, object]]:
        """What was logged under that name."""
        return [dict(entry) for entry in self.log.entries if entry["event"] == name]
