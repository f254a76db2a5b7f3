"""Policies from where the user says: files and directories, or the search path."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from damos_agent.cli.exits import NothingThereError
from damos_agent.cli.session import Session
from damos_agent.model.compiled import Compiled
from damos_agent.model.errors import DamosError
from damos_agent.model.finding import Severity
from damos_agent.model.policy import Policy
from damos_agent.model.settings import Settings

if TYPE_CHECKING:
    from damos_agent.agent.loader import Loaded, LoadedPolicy

PATHS = click.argument(
    "paths", nargs=-1, metavar="[PATH]...", type=click.Path(exists=True, allow_dash=True)
)
"""Files, directories, `-` for stdin; none at all means the search path below --config-root."""


def read_stdin(paths: tuple[str, ...]) -> bytes:
    """One byte more than is accepted at most, if `paths` name stdin; else nothing."""
    if "-" not in paths:
        return b""
    from damos_agent.config.document import MAX_FILE_BYTES

    return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)


def compile_from(session: Session, paths: tuple[str, ...], stdin: bytes | None = None) -> Compiled:
    """Everything at `paths`, or on the search path. `NothingThereError` if no file is named.

    `stdin`: what was read from there already.
    """
    from damos_agent.config.compile import compile_files, compile_tree

    if not paths:
        return compile_tree(session.roots.config, held=_held(session))
    if not any(map(_holds_files, paths)):
        raise NothingThereError(
            f"no policy file in {', '.join(paths)}",
            hint="of a directory, only its own *.yaml files are read",
        )
    return compile_files(paths, read_stdin(paths) if stdin is None else stdin)


def _held(session: Session) -> dict[str, str]:
    """Which file holds which name for the agent that runs here, or did on this boot."""
    return _kept(session).held


def _kept(session: Session) -> Loaded:
    from damos_agent.agent.loader import Loaded, read_loaded

    try:
        return read_loaded(f"{session.roots.run}/loaded.json")
    except DamosError:
        return Loaded()


def last_good(session: Session, compiled: Compiled) -> tuple[LoadedPolicy, ...]:
    """What the agent keeps in force although its files, of the search path, are rejected now."""
    from damos_agent.agent.loader import merge
    from damos_agent.config.searchpath import policy_directories

    kept = _kept(session)
    # The agent may have read another --config-root.
    places = policy_directories(session.roots.config)
    ours = tuple(entry for entry in kept.policies if os.path.dirname(entry.path) in places)
    return merge(replace(kept, policies=ours), compiled, time.time()).stale


def _holds_files(path: str) -> bool:
    return not os.path.isdir(path) or any(name.endswith(".yaml") for name in os.listdir(path))


def effective(compiled: Compiled) -> tuple[dict[str, Policy], Settings]:
    """The policies that are usable, by name, and the agent's settings."""
    policies = {file.policy.name: file.policy for file in compiled.files if file.policy}
    return policies, compiled.settings or Settings()


def rejected_names(compiled: Compiled) -> frozenset[str]:
    """Names of the policies whose files are rejected, as far as those can be read."""
    bad = (file for file in compiled.files if file.policy is None)
    return frozenset(item.policy for file in bad for item in file.findings if item.policy)


def report_errors(compiled: Compiled) -> bool:
    """Print errors (not warnings) on stderr; whether there were any."""
    from damos_agent.cli.output.text import line

    found = [*compiled.findings, *(item for file in compiled.files for item in file.findings)]
    errors = [item for item in found if item.severity is Severity.ERROR]
    for item in errors:
        click.echo(line(item), err=True)
    return bool(errors)
