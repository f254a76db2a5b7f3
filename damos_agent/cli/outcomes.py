"""`damosctl outcomes`: what came of the policies, from the agent's records."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from damos_agent.agent.outcome_file import NAME, files_of
from damos_agent.algo.record import OutcomeRecord
from damos_agent.cli import exits
from damos_agent.cli.complaint import warn
from damos_agent.cli.session import Session
from damos_agent.cli.sources import compile_from, effective
from damos_agent.model.codec import decode
from damos_agent.model.errors import HostError, UnitError
from damos_agent.model.units import parse_duration_us


def _duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_duration_us(value) / 1e6
    except UnitError as error:
        raise click.BadParameter(f"{error.message}; write it like 2h") from error


@click.command("outcomes", epilog="Exit code: 0 shown, 1 there are no records to be read.")
@click.argument("policy", default="")
@click.option("--since", callback=_duration, metavar="TIME", help="Not older than that, like 2h.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The last N of each policy.")
@click.option("--plot", is_flag=True, help="Curves instead of rows.")
@click.option("--json", "as_json", is_flag=True, help="The records, one a line, for programs.")
@click.option(
    "--file", "path", metavar="FILE", help="Records kept elsewhere, of any machine; - for stdin."
)
@click.pass_obj
def command(
    session: Session,
    policy: str,
    since: float | None,
    last: int | None,
    plot: bool,
    as_json: bool,
    path: str | None,
) -> int:
    """Show what POLICY, or all policies, did, what limited them, and what was gained.

    NET is memory of the target in swap, less what zram and zswap take to hold it and the agent's
    own. REFAULTS are pages needed again. CPU is that of kdamond or monitor.
    """
    oldest = time.time() - since if since is not None else None
    found = [
        (text, record)
        for text, record in _read(_paths(session, path))
        if record.policy == (policy or record.policy) and (oldest is None or record.wall >= oldest)
    ]
    if last is not None:
        found = list(_latest(found, last))
    if as_json:
        for text, _ in found:
            click.echo(text)
        return exits.OK
    if not found:
        raise HostError(
            "there are no outcome records" + (f" of {policy}" if policy else ""),
            hint="the agent writes one per policy each outcome_interval; see damosctl status",
        )
    from damos_agent.cli.outcome_text import curves, rows

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    records = [record for _, record in found]
    for line in curves(records, width or 80) if plot else rows(records, width):
        click.echo(line)
    return exits.OK


def _paths(session: Session, path: str | None) -> list[str]:
    if path is None:
        settings = effective(compile_from(session, ()))[1]
        path = settings.outcomes.file
        if path == "":
            raise HostError("records are switched off", hint="outcomes.enabled in agent.yaml")
        path = f"{session.roots.run}/{NAME}" if path is None else path
        return files_of(path)
    return [path]


def _read(paths: Iterable[str]) -> Iterator[tuple[str, OutcomeRecord]]:
    """Whatever can be read; what cannot is told."""
    bad = 0
    for path in paths:
        try:
            with click.open_file(path, encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    record = _parse(line)
                    if record is None:
                        bad += 1
                    else:
                        yield line.rstrip("\n"), record
        except OSError as error:
            raise HostError(
                f"cannot be read: {error.strerror or error}", path=path, errno=error.errno
            ) from error
    if bad:
        warn(f"{bad} lines are no outcome records of this version, and are left out")


def _parse(line: str) -> OutcomeRecord | None:
    try:
        document: Any = json.loads(line)
        # Lines of the journal carry it in a field, without its schemes.
        if isinstance(document, dict) and "record" in document:
            document = {"schemes": [], **document["record"]}
        return decode(OutcomeRecord, document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _latest(
    found: list[tuple[str, OutcomeRecord]], count: int
) -> Iterator[tuple[str, OutcomeRecord]]:
    left: dict[str, int] = {}
    kept = []
    for item in reversed(found):
        left[item[1].policy] = left.get(item[1].policy, 0) + 1
        if left[item[1].policy] <= count:
            kept.append(item)
    yield from reversed(kept)
