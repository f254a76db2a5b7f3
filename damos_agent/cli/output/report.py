"""What `validate` found, ready to be put in any form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from damos_agent.model.compiled import Compiled
from damos_agent.model.finding import Finding, Severity
from damos_agent.model.units import plural


@dataclass(frozen=True, slots=True)
class Report:
    """`files` maps every path that was looked at to its findings, in order."""

    files: dict[str, tuple[Finding, ...]]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, file by file."""
        return tuple(found for findings in self.files.values() for found in findings)

    def count(self, severity: Severity) -> int:
        """How many findings there are of `severity`."""
        return sum(found.severity is severity for found in self.findings)

    @property
    def rejected(self) -> int:
        """How many files an error rejects."""
        return sum(is_rejected(findings) for findings in self.files.values())


Render = Callable[[Report], str]
"""One output format: the whole text, with its last newline, or nothing."""


def is_rejected(findings: tuple[Finding, ...]) -> bool:
    """Whether a file with these findings is not used."""
    return any(found.severity is Severity.ERROR for found in findings)


def report_of(compiled: Compiled, named: Iterable[str] = ()) -> Report:
    """The report of a compilation; findings that belong to no policy file come after `named`.

    `named` are files that were asked for, and so are part of the report even without findings.
    """
    files: dict[str, tuple[Finding, ...]] = dict.fromkeys(named, ())
    for found in compiled.findings:
        files[found.path] = (*files.get(found.path, ()), found)
    for file in compiled.files:
        files[file.path] = (*files.get(file.path, ()), *file.findings)
    return Report(files)


def summary(report: Report) -> str:
    """`12 files, 1 rejected: 2 errors, 1 warning, 0 notes`."""
    counts = Counter(found.severity for found in report.findings)
    parts = [plural(counts[severity], severity) for severity in Severity]
    return f"{plural(len(report.files), 'file')}, {report.rejected} rejected: {', '.join(parts)}"
