"""For GitHub: workflow commands that put each finding on its line of the pull request."""

from __future__ import annotations

from damos_agent.cli.output.report import Report
from damos_agent.model.finding import Finding, Severity

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render(report: Report) -> str:
    """One command per finding."""
    return "".join(f"{_command(found)}\n" for found in report.findings)


def _command(found: Finding) -> str:
    place = {"file": found.path}
    if found.line:
        place |= {"line": str(found.line), "col": str(found.column)}
    place["title"] = found.code
    properties = ",".join(f"{key}={_property(value)}" for key, value in place.items())
    text = f"{found.message} ({found.hint})" if found.hint else found.message
    return f"::{_LEVELS[found.severity]} {properties}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
