"""`damosctl config`: which policies are in effect, from which files, and what was rejected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from damos_agent.cli import exits
from damos_agent.cli.document import document_of
from damos_agent.cli.exits import NothingThereError
from damos_agent.cli.output.text import line
from damos_agent.cli.session import Session
from damos_agent.cli.sources import compile_from, last_good
from damos_agent.cli.table import Column, Row, lay_out
from damos_agent.model.codec import encode
from damos_agent.model.compiled import Compiled, CompiledFile
from damos_agent.model.finding import Severity

if TYPE_CHECKING:
    from damos_agent.agent.loader import LoadedPolicy

_COLUMNS = (Column("POLICY"), Column("MODE"), Column("DIGEST"), Column("FILE"))
_DIGITS = 12
_LAST_GOOD = "rejected now: its last good version counts"


@click.command("config", epilog="Exit code: 0 everything is good, 1 something is rejected.")
@click.option("--show", metavar="NAME", help="Print one policy, every default spelled out.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def command(session: Session, show: str | None, as_json: bool) -> int:
    """Show the policies on the search path as the agent would read them now.

    A file in /etc replaces the one of the same name in /run, that one in /usr/local/lib, that one
    in /usr/lib; a link to /dev/null or an empty file masks them. Of a file with errors, the last
    good version is shown if the agent has kept one on this boot.
    """
    compiled = compile_from(session, ())
    kept = last_good(session, compiled)
    if show is not None:
        click.echo(_shown(compiled, kept, show, as_json=as_json), nl=False)
        return exits.OK
    if as_json:
        click.echo(json.dumps(_document(compiled, kept), indent=2))
    else:
        for text in _lines(compiled, kept):
            click.echo(text)
    bad = any(found.severity is Severity.ERROR for found in compiled.findings)
    rejected = bad or any(file.policy is None for file in compiled.files)
    return exits.FAILED if rejected else exits.OK


def _shown(compiled: Compiled, kept: tuple[LoadedPolicy, ...], name: str, *, as_json: bool) -> str:
    good = [(file.policy, file.path) for file in compiled.files if file.policy]
    good += [(entry.policy, f"{entry.path}, {_LAST_GOOD}") for entry in kept]
    for policy, origin in good:
        if policy.name == name:
            document = document_of(policy)
            if as_json:
                return json.dumps(document, indent=2) + "\n"
            import yaml

            return f"# {origin}\n" + yaml.safe_dump(document, sort_keys=False, width=100)
    raise NothingThereError(
        f"no policy named {name} is in effect", hint="see `damosctl config` for those that are"
    )


def _lines(compiled: Compiled, kept: tuple[LoadedPolicy, ...]) -> Iterator[str]:
    rows = [_row(file) for file in compiled.files if file.policy is not None]
    rows += map(_kept_row, kept)
    if rows:
        yield from lay_out(_COLUMNS, rows, None)
    else:
        yield "no policies"
    for file in compiled.files:
        if file.policy is None:
            yield ""
            yield click.style(f"rejected: {file.path}", fg="red", bold=True)
            yield from (f"  {line(found)}" for found in file.findings)
    if compiled.findings:
        yield ""
        yield from map(line, compiled.findings)


def _row(file: CompiledFile) -> Row:
    policy = file.policy
    cells = (policy.name, policy.mode, file.digest[:_DIGITS], file.path) if policy else ("",) * 4
    return Row(cells, tuple(click.style(f"  masks {path}", dim=True) for path in file.masked))


def _kept_row(entry: LoadedPolicy) -> Row:
    cells = (entry.policy.name, entry.policy.mode, entry.digest[:_DIGITS], entry.path)
    return Row(cells, (click.style(f"  {_LAST_GOOD}", fg="yellow"),))


def _document(compiled: Compiled, kept: tuple[LoadedPolicy, ...]) -> dict[str, object]:
    files = [
        {
            "path": file.path,
            "digest": file.digest,
            "masked": list(file.masked),
            "policy": None if file.policy is None else document_of(file.policy),
            "findings": encode(file.findings),
        }
        for file in compiled.files
    ]
    settings = None if compiled.settings is None else encode(compiled.settings)
    return {
        "settings": settings,
        "files": files,
        "findings": encode(compiled.findings),
        "last_good": [
            {"path": entry.path, "digest": entry.digest, "policy": document_of(entry.policy)}
            for entry in kept
        ],
    }
