"""damosctl at a simulated machine: policies in a directory, DAMON simulated, the agent at hand."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from click.testing import CliRunner, Result

from damos_agent.agent.status import StatusAnswer
from damos_agent.cli.main import damosctl
from damos_agent.cli.session import Session
from damos_agent.config.compile import compile_tree
from damos_agent.config.trust import Trust
from damos_agent.host.filesystem import Filesystem
from damos_agent.model.codec import encode
from damos_agent.model.policy import Policy
from damos_agent.model.status import (
    AgentStatus,
    GoalStatus,
    PolicyState,
    PolicyStatus,
    SchemeOutcome,
)
from tests.agent.serving import serving
from tests.agent.world import World

POLICIES = Path(__file__).parents[2] / "policies"
WORK = """\
apiVersion: damos-agent/v1
kind: Policy
metadata:
  name: work
spec:
  mode: enforce
  target:
    process: {exe: work}
  schemes:
    - action: pageout
      pattern:
        access_rate: {max: 0%}
        age: {min: 2m}
      quota: {size: 1MiB, interval: 1s}
"""
BAD = WORK.replace("size: 1MiB", "sise: 1MiB").replace("name: work", "name: bad")


@dataclass(slots=True)
class Desk:
    """`config` is --config-root, `run` --run-root."""

    config: Path
    run_root: Path
    world: World = field(default_factory=World)
    fs: Filesystem | None = None
    sleeps: list[float] = field(default_factory=list)
    patience: int = 2

    @property
    def policies(self) -> Path:
        """Where administrators put policies."""
        return self.config / "etc/damos-agent/policies.d"

    def put(self, name: str, text: str = WORK) -> Path:
        """A file on the search path."""
        self.policies.mkdir(parents=True, exist_ok=True)
        path = self.policies / name
        path.write_text(text)
        return path

    def effective(self) -> tuple[Policy, ...]:
        """What the agent would read."""
        compiled = compile_tree(str(self.config), trust=Trust(enforced=False))
        return tuple(file.policy for file in compiled.files if file.policy)

    def reconcile(self) -> None:
        """What the agent would do; its ledger goes where damosctl finds it."""
        self.world.go(*self.effective())
        self.keep_ledger()

    def keep_ledger(self) -> None:
        """The agent's record as it is on disk."""
        self.run_root.mkdir(exist_ok=True)
        ledger = self.world.reconciler.ledger
        (self.run_root / "state.json").write_text(json.dumps(encode(ledger)))

    def sleep(self, seconds: float) -> None:
        """Ctrl-C after `patience` rounds."""
        self.sleeps.append(seconds)
        if len(self.sleeps) >= self.patience:
            raise KeyboardInterrupt

    def run(self, *args: str, stdin: str | bytes | None = None) -> Result:
        """damosctl with these arguments."""
        session = Session(
            fs=self.fs or self.world.machine, sleep=self.sleep, read_btf=lambda _sysfs: None
        )
        roots = ["--config-root", str(self.config), "--run-root", str(self.run_root)]
        return CliRunner().invoke(damosctl, [*roots, *args], input=stdin, obj=session)


OUTCOME = SchemeOutcome(
    index=0,
    action="pageout",
    nr_tried=10,
    sz_tried=3 << 30,
    nr_applied=5,
    sz_applied=1288490189,
    qt_exceeds=3,
    nr_tried_delta=1,
    sz_tried_delta=16 << 20,
    nr_applied_delta=1,
    sz_applied_delta=12 << 20,
    qt_exceeds_delta=0,
    quota_bytes=100 << 20,
    effective_bytes=80 << 20,
    goals=(
        GoalStatus("memory_psi_some", "share", 100, 40),
        GoalStatus("rss", "size", 8 << 30, None),
    ),
)
SECOND = replace(OUTCOME, index=1, action="lru_deprio", quota_bytes=0, effective_bytes=None,
                 goals=())  # fmt: skip
STATUS = AgentStatus(
    version="0.1.0",
    pid=812,
    started=1_000.0,
    now=12_560.0,
    kernel="7.3.4",
    backend="kernel",
    backend_reason="",
    policies=(
        PolicyStatus(
            "proactive-reclaim", PolicyState.ACTIVE, "enforce", "kernel", "/etc/p.yaml", "d1",
            slot=0, kdamond_pid=99, targets=3, target="exe=memcached user=memcache",
            schemes=(OUTCOME, SECOND), last_error="writing 'commit' failed with EBUSY",
        ),
        PolicyStatus(
            "db", PolicyState.WAITING, "observe", "kernel", "/etc/q.yaml", "d2",
            reason="no process matches exe=postgres",
            bad_file=("/etc/q.yaml:3:1: error DA022: unknown key `x`",),
        ),
    ),
    rejected=("/etc/r.yaml: error DA004: YAML syntax",),
    rejected_files=1,
    last_reload=12_260.0,
    reloads=4,
    sysfs_writes=43,
    drift={"proactive-reclaim": 2},
    foreign_kdamonds=1,
)  # fmt: skip


@contextmanager
def agent(run_root: Path, status: AgentStatus = STATUS) -> Iterator[list[str]]:
    """An agent that answers on the status socket; yields what it was told to do."""
    run_root.mkdir(exist_ok=True)
    done: list[str] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(run_root / "status.sock"))
    listener.listen()
    listener.setblocking(False)
    names = ("reload", "pause", "resume", "feed")
    does = {n: lambda request: done.append(" ".join(request.values()).strip()) for n in names}
    answer = StatusAnswer({"status": lambda: status}, does)
    with serving(listener, answer):
        yield done
    (run_root / "status.sock").unlink()
