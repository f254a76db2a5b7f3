"""`damosctl feed`: a number that only the application knows, such as its latency."""

from __future__ import annotations

import click

from damos_agent.agent.status import do
from damos_agent.cli import exits
from damos_agent.cli.session import Session


@click.command("feed", epilog="Exit code: 0 taken, 1 nobody asks for it, or no agent answers.")
@click.argument("name")
@click.argument("number")
@click.pass_obj
def command(session: Session, name: str, number: str) -> int:
    """Tell the agent that NAME is NUMBER now, a whole number in whatever unit the policy uses.

    Policies name it as `feed: NAME`. It has to be told again before it is stale.
    """
    do(session.status_socket, "feed", name=name, number=number)
    click.echo(f"{name} is {number} now")
    return exits.OK
