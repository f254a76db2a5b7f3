"""`damosctl reload`: ask the running agent to read its files again."""

from __future__ import annotations

import click

from damos_agent.agent.status import do
from damos_agent.cli import exits
from damos_agent.cli.session import Session


@click.command("reload", epilog="Exit code: 0 the agent has taken it up, 1 it does not answer.")
@click.pass_obj
def command(session: Session) -> int:
    """Have the agent read agent.yaml and all policies again, as SIGHUP does.

    It also does so by itself when files change. See `damosctl status` for the result.
    """
    do(session.status_socket, "reload")
    click.echo("the agent reads its files again")
    return exits.OK
