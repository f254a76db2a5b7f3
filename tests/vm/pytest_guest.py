# SPDX-License-Identifier: Apache-2.0
"""Runs pytest in a guest: one boot, the outcome of every test."""

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.errors import GuestError
from tests.vm.guest import PROJECT, Job, boot, own_prefix
from tests.vm.qemu import Machine
from tests.vm.report import REPORT_VARIABLE, NodeOutcome, parse_report

_REPORTS = "/run/damos-lab-report"

# Looking for plugins and importing those no guest test needs takes half a minute under emulation.
_PLUGINS = ("-p", "tests.vm.report", "-p", "pytest_timeout", "-p", "no:cacheprovider")


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The tests of one boot. `failure` says why the guest or pytest as a whole failed, if so."""

    nodes: Mapping[str, NodeOutcome]
    returncode: int | None
    output: str
    failure: str | None

    def node(self, nodeid: str) -> NodeOutcome:
        """The outcome of that test; one that was cut short or never started has failed."""
        found = self.nodes.get(nodeid)
        why = self.failure or f"pytest in the guest ended with {self.returncode}:\n{self.output}"
        if found is None:
            return NodeOutcome("failed", f"not run in the guest: {why}", 0.0)
        if found.outcome == "running":
            return NodeOutcome("failed", f"cut short: {why}", found.seconds)
        return found


def run_pytest(
    kernel: str,
    args: Sequence[str],
    *,
    machine: Machine | None = None,
    modules: Sequence[str] = ("zram",),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 1800.0,
    stopping: threading.Event | None = None,
) -> SuiteResult:
    """Run `pytest ARGS` in a guest of that kernel series, from the project's root.

    A guest that dies on the way gives the outcomes up to there and a `failure`. Raises
    LabError when no guest could be started at all.
    """
    where = machine or Machine()
    # An idle guest that waits for its host's files sees virtual minutes go by in a second.
    clockless = ("--timeout=0",) if where.virtual_time else ()
    with tempfile.TemporaryDirectory(prefix=f"{own_prefix()}report-") as name:
        report = Path(name) / "report.jsonl"
        job = Job(
            command=["python", "-m", "pytest", *_PLUGINS, *clockless, "--tb=short", *args],
            cwd=PROJECT,
            env={
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                REPORT_VARIABLE: f"{_REPORTS}/{report.name}",
                **(env or {}),
            },
            modules=modules,
            writable={_REPORTS: report.parent},
            timeout_s=timeout_s,
            stopping=stopping,
        )
        returncode, output, failure = _boot(kernel, where, job)
        text = report.read_text(encoding="utf-8") if report.exists() else ""
    return SuiteResult(parse_report(text), returncode, output, failure)


def _boot(kernel: str, machine: Machine, job: Job) -> tuple[int | None, str, str | None]:
    try:
        done = boot(kernel, machine, job)
    except GuestError as error:
        return None, error.stdout + error.stderr, str(error)
    return done.returncode, done.stdout + done.stderr, None
