"""For people: `file:line:column: severity CODE: message (hint)`, which editors understand too."""

from __future__ import annotations

import click

from damos_agent.cli.output.report import Report
from damos_agent.model.finding import Finding, Severity

COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def render(report: Report) -> str:
    """One line per finding."""
    return "".join(f"{line(found)}\n" for found in report.findings)


def line(found: Finding) -> str:
    """One finding, coloured; click takes the colours out where they do not belong."""
    place = f"{found.path}:{found.line}:{found.column}" if found.line else found.path
    label = click.style(f"{found.severity} {found.code}:", fg=COLORS[found.severity], bold=True)
    hint = click.style(f" ({found.hint})", dim=True) if found.hint else ""
    return f"{click.style(place, bold=True)}: {label} {found.message}{hint}"
