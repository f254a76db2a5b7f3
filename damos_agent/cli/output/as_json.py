"""For programs: one JSON object with every file, its findings, and the counts."""

from __future__ import annotations

import json

from damos_agent.cli.output.report import Report, is_rejected
from damos_agent.model.finding import Finding, Severity


def render(report: Report) -> str:
    """An object with `files` and `summary`."""
    files = [
        {
            "path": path,
            "valid": not is_rejected(findings),
            "findings": [_finding(found) for found in findings],
        }
        for path, findings in report.files.items()
    ]
    counts = {f"{severity}s": report.count(severity) for severity in Severity}
    summary = {"files": len(report.files), "rejected": report.rejected, **counts}
    return json.dumps({"files": files, "summary": summary}, indent=2) + "\n"


def _finding(found: Finding) -> dict[str, object]:
    return {
        "code": found.code,
        "severity": found.severity,
        "line": found.line,
        "column": found.column,
        "message": found.message,
        "hint": found.hint,
        "policy": found.policy,
    }
