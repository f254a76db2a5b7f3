"""For code scanning: SARIF 2.1.0 (OASIS standard, 27 March 2020)."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from damos_agent.cli.output.report import Report
from damos_agent.model.finding import Finding, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(report: Report) -> str:
    """A log with one run; its rules are the codes that were found."""
    codes = sorted({found.code for found in report.findings})
    driver = {
        "name": "damosctl",
        "semanticVersion": version("damos-agent"),
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "artifacts": [{"location": {"uri": _uri(path)}} for path in report.files],
        "results": [_result(found, codes) for found in report.findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: str) -> dict[str, Any]:
    from damos_agent.config.codes import CODES

    row = CODES[code]
    return {
        "id": code,
        "shortDescription": {"text": row.summary},
        "fullDescription": {"text": row.why},
        "help": {"text": row.remedy},
        "defaultConfiguration": {"level": row.severity},
    }


def _result(found: Finding, codes: list[str]) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(found.path)}}
    if found.line:
        physical["region"] = {"startLine": found.line, "startColumn": max(found.column, 1)}
    text = f"{found.message} ({found.hint})" if found.hint else found.message
    return {
        "ruleId": found.code,
        "ruleIndex": codes.index(found.code),
        "level": _level(found.severity),
        "message": {"text": text},
        "locations": [{"physicalLocation": physical}],
    }


def _level(severity: Severity) -> str:
    return severity.value  # SARIF's own words: error, warning, note


def _uri(path: str) -> str:
    quoted = quote(path.removeprefix("./"))
    return f"file://{quoted}" if path.startswith("/") else quoted
