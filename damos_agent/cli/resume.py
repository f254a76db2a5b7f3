"""`damosctl resume`: the end of a pause, whoever began it."""

from __future__ import annotations

import click

from damos_agent.agent.held import is_disabled
from damos_agent.agent.status import do
from damos_agent.cli import exits
from damos_agent.cli.session import Session


@click.command("resume", epilog="Exit code: 0 it goes on, 1 the agent does not answer, or may not.")
@click.argument("policy", default="")
@click.pass_obj
def command(session: Session, policy: str) -> int:
    """Let POLICY, or all policies, act again; a guard that had stopped it starts anew.

    It cannot lift the file `disable` in the agent's run directory.
    """
    do(session.status_socket, "resume", policy=policy)
    if is_disabled(session.roots.run):
        click.echo(f"nothing acts yet: {session.roots.run}/disable exists; remove it", err=True)
        return exits.FAILED
    click.echo(f"{policy or 'everything'} goes on")
    return exits.OK
