"""For CI servers: JUnit XML, one test case per file; errors fail it, the rest is its output."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from damos_agent.cli.output.report import Report
from damos_agent.model.finding import Finding, Severity


def render(report: Report) -> str:
    """A `testsuites` document."""
    cases = "".join(_case(path, findings) for path, findings in report.files.items())
    counts = f'tests="{len(report.files)}" failures="{report.rejected}" errors="0"'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites {counts}>\n  <testsuite name="damosctl validate" {counts}>\n'
        f"{cases}  </testsuite>\n</testsuites>\n"
    )


def _case(path: str, findings: tuple[Finding, ...]) -> str:
    errors = [found for found in findings if found.severity is Severity.ERROR]
    others = [found for found in findings if found.severity is not Severity.ERROR]
    head = f'    <testcase classname="damosctl.validate" name={quoteattr(path)}'
    if not findings:
        return f"{head}/>\n"
    body = ""
    if errors:
        first = quoteattr(f"{errors[0].code}: {errors[0].message}")
        body += f'      <failure type="{errors[0].code}" message={first}>'
        body += f"{_lines(errors)}</failure>\n"
    if others:
        body += f"      <system-out>{_lines(others)}</system-out>\n"
    return f"{head}>\n{body}    </testcase>\n"


def _lines(findings: list[Finding]) -> str:
    return escape("\n".join(map(str, findings)))
