"""The table of finding codes: one row each, never reused, and how to make a `Finding` of one.

docs/findings.md is generated from this table. Numbers below 20 are about YAML, below 40 about
shape and words, below 100 about sense, from 100 on about files and how they fit together.
"""

from __future__ import annotations

from dataclasses import dataclass

from damos_agent.config.code_rows import FILE_CODES, SENSE_CODES, SHAPE_CODES, YAML_CODES, Row
from damos_agent.model.finding import Finding, Severity


@dataclass(frozen=True, slots=True)
class Code:
    """`summary` names the fault, `why` says what would go wrong, `remedy` what to do."""

    code: str
    severity: Severity
    summary: str
    why: str
    remedy: str


def _table(*parts: tuple[Row, ...]) -> dict[str, Code]:
    rows = [Code(row[0], Severity(row[1]), *row[2:]) for part in parts for row in part]
    table = {row.code: row for row in rows}
    if len(table) != len(rows):
        raise ValueError("a finding code is used twice")
    return table


CODES: dict[str, Code] = _table(YAML_CODES, SHAPE_CODES, SENSE_CODES, FILE_CODES)


def finding(
    code: str, message: str, path: str, place: tuple[int, int] = (0, 0), hint: str = ""
) -> Finding:
    """A finding of `code` with the severity its row gives; `place` is line and column from 1."""
    return Finding(
        code=code,
        severity=CODES[code].severity,
        message=message,
        path=path,
        line=place[0],
        column=place[1],
        hint=hint,
    )
