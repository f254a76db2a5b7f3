"""How an error is told to a person: what, where, what to do."""

from __future__ import annotations

import click

from damos_agent.cli import exits
from damos_agent.model.errors import DamosError


def warn(text: str) -> None:
    """Say on stderr what did not keep us from going on."""
    click.echo(click.style("warning: ", fg="yellow", bold=True) + text, err=True)


def complain(error: DamosError) -> None:
    """Say on stderr what is wrong, where, and what to do."""
    place = f"{error.path}: " if error.path else ""
    click.echo(
        click.style("error: ", fg="red", bold=True) + place + exits.message_for(error), err=True
    )
    if hint := exits.hint_for(error):
        click.echo(click.style("hint:  ", fg="cyan") + hint, err=True)
