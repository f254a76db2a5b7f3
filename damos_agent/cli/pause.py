"""`damosctl pause`: the kill switch, for one policy or for all."""

from __future__ import annotations

import click

from damos_agent.agent.status import do
from damos_agent.cli import exits
from damos_agent.cli.session import Session


@click.command("pause", epilog="Exit code: 0 it is stopped, 1 the agent does not answer.")
@click.argument("policy", default="")
@click.pass_obj
def command(session: Session, policy: str) -> int:
    """Stop what POLICY does, or all policies; they go on monitoring.

    It stays so until `damosctl resume`, also when the agent is restarted; a reboot ends it. Where
    the agent cannot be asked, the file `disable` in its run directory does the same to all.
    """
    do(session.status_socket, "pause", policy=policy)
    click.echo(f"{policy or 'everything'} is paused: damosctl resume{policy and f' {policy}'}")
    return exits.OK
