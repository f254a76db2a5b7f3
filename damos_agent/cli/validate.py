"""`damosctl validate`: what is wrong with policy files. Reads nothing but them."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Final, cast

import click

from damos_agent.cli import exits
from damos_agent.cli.output.annotate import annotate
from damos_agent.cli.output.report import Render, Report, report_of, summary
from damos_agent.cli.session import Session
from damos_agent.cli.sources import PATHS, compile_from, read_stdin
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.model.finding import STDIN, Severity

_FORMATS: Final = {
    "text": "text",
    "json": "as_json",
    "github": "github",
    "sarif": "sarif",
    "junit": "junit",
}
"""Format → module in `damos_agent.cli.output`. A new format is a module and a line here."""


@click.command(
    "validate",
    epilog="Exit code: 0 no errors, 1 errors (with --lint-fatal also warnings).",
)
@PATHS
@click.option(
    "--output",
    "-o",
    type=click.Choice(list(_FORMATS)),
    default="text",
    show_default=True,
    help="Form of the findings.",
)
@click.option("--lint-fatal", is_flag=True, help="Warnings fail too.")
@click.option("--summary", "with_summary", is_flag=True, help="Add counts (text, github).")
@click.option("--annotate", "annotated", is_flag=True, help="Print the files with marks instead.")
@click.pass_obj
def command(
    session: Session,
    paths: tuple[str, ...],
    output: str,
    lint_fatal: bool,
    with_summary: bool,
    annotated: bool,
) -> int:
    """Check policies and agent settings at PATH (- is stdin), or those on the search path.

    Needs neither root, nor DAMON, nor the kernel the policies are for.
    """
    stdin = read_stdin(paths)
    named = [STDIN if path == "-" else path for path in paths if not os.path.isdir(path)]
    report = report_of(compile_from(session, paths, stdin), named)
    if annotated:
        _print_annotated(report, stdin)
    else:
        click.echo(_renderer(output)(report), nl=False)
    if with_summary and output in ("text", "github"):
        click.echo(summary(report))
    bad = report.count(Severity.ERROR) + (report.count(Severity.WARNING) if lint_fatal else 0)
    return exits.FAILED if bad else exits.OK


def _renderer(output: str) -> Render:
    module = import_module(f"damos_agent.cli.output.{_FORMATS[output]}")
    return cast("Render", module.render)  # every module of _FORMATS has one; a test calls them all


def _print_annotated(report: Report, stdin: bytes) -> None:
    for path, findings in report.files.items():
        if not findings:
            continue
        if len(report.files) > 1:
            click.secho(f"# {path}", bold=True)
        click.echo(annotate(_text_of(path, stdin), findings), nl=False)


def _text_of(path: str, stdin: bytes) -> str:
    if path == STDIN:
        return stdin.decode("utf-8", "replace")
    try:
        return RealFilesystem().read(path)
    except OSError:
        return ""  # the finding itself says that it cannot be read
