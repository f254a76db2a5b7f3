# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin for the guest's side: writes each test's reports as JSON lines.

The file is named by $DAMOS_LAB_REPORT and lies on the host, so what was reported before a
kernel panics is not lost, and the test that was running is known.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPORT_VARIABLE = "DAMOS_LAB_REPORT"


@dataclass(frozen=True, slots=True)
class NodeOutcome:
    """How one test ended in the guest: passed, failed, skipped, or running when the guest died."""

    outcome: str
    message: str
    seconds: float


@dataclass(slots=True)
class _Progress:
    outcome: str = "running"
    messages: list[str] = field(default_factory=list)
    seconds: float = 0.0


def pytest_runtest_logstart(nodeid: str) -> None:
    _write({"nodeid": nodeid, "when": "start"})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    sections = [f"----- {title} -----\n{text}" for title, text in report.sections]
    details = [report.longreprtext, *sections] if report.outcome == "failed" else []
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    _write(
        {
            "nodeid": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "message": "\n".join(details) or reason,
            "seconds": report.duration,
        }
    )


def _write(record: Mapping[str, object]) -> None:
    with Path(os.environ[REPORT_VARIABLE]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")


def parse_report(text: str) -> dict[str, NodeOutcome]:
    """The outcome of every test that was started, by node id.

    A test passes if its call passed and neither set-up nor tear-down failed.
    """
    found: dict[str, _Progress] = {}
    for record in _records(text):
        progress = found.setdefault(str(record["nodeid"]), _Progress())
        if record["when"] == "start":
            continue
        outcome = str(record["outcome"])
        progress.seconds += float(str(record["seconds"]))
        if record["message"]:
            progress.messages.append(f"{record['when']}: {record['message']}")
        if outcome != "passed" or record["when"] == "call":
            progress.outcome = _worse(progress.outcome, outcome)
    return {
        nodeid: NodeOutcome(one.outcome, "\n".join(one.messages), one.seconds)
        for nodeid, one in found.items()
    }


def _records(text: str) -> Iterator[dict[str, object]]:
    """A last line that is not ended was cut off by the guest's death."""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def _worse(first: str, second: str) -> str:
    order = ("running", "passed", "skipped", "failed")
    return max(first, second, key=order.index)
