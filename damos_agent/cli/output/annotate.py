"""The file itself, with a mark at every line that has a finding and the findings below it."""

from __future__ import annotations

import click

from damos_agent.cli.output.text import COLORS
from damos_agent.model.finding import Finding, Severity

_LETTER = {Severity.ERROR: "E", Severity.WARNING: "W", Severity.NOTE: "N"}


def annotate(text: str, findings: tuple[Finding, ...]) -> str:
    """`text` with `# E1` marks, and a footer that explains each; unchanged without findings.

    The result still parses as what it was: marks and footer are YAML comments.
    """
    marks: dict[int, list[str]] = {}
    footer = []
    for number, found in enumerate(findings, start=1):
        mark = click.style(f"{_LETTER[found.severity]}{number}", fg=COLORS[found.severity])
        marks.setdefault(found.line, []).append(mark)
        hint = f" ({found.hint})" if found.hint else ""
        footer.append(f"# {mark}: {found.code} {found.message}{hint}\n")
    lines = text.splitlines()
    marked = [f"{line}  # {' '.join(marks[n])}" if n in marks else line
              for n, line in enumerate(lines, start=1)]  # fmt: skip
    body = "".join(f"{line}\n" for line in marked)
    return f"{body}# ----\n{''.join(footer)}" if footer else body
