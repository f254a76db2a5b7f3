"""`damosctl status`: what the running agent says of itself and of every policy."""

from __future__ import annotations

import errno
import json
import shutil
import sys

import click

from damos_agent.agent.status import ask, read_status
from damos_agent.cli import exits
from damos_agent.cli.complaint import complain
from damos_agent.cli.session import Session
from damos_agent.cli.status_text import brief, render
from damos_agent.model.errors import HostError


@click.command("status", epilog="Exit code: 0 the agent answers, 1 it does not.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer, for programs.")
@click.option("--brief", "in_brief", is_flag=True, help="One line, for probes.")
@click.option(
    "--watch",
    is_flag=False,
    flag_value=2.0,
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help="Show it again and again, every 2 seconds unless given.",
)
@click.pass_obj
def command(session: Session, as_json: bool, in_brief: bool, watch: float | None) -> int:
    """Show policies, targets, what was applied, quotas, goals and troubles.

    APPLIED counts since the scheme was created, LATELY over the agent's last outcome interval.
    While a policy observes, they show in brackets what matches now and what matched lately. QUOTA
    is what the kernel allows at present. BACKEND also numbers the kernel's slot, TARGETS counts
    processes. BACKEND, MODE and TARGETS are left out where the terminal is too narrow.
    """
    if watch is not None:
        from damos_agent.cli.watch import watch_screen

        return watch_screen(session, lambda: _text(session, in_brief=in_brief), watch)
    try:
        if as_json:
            answer = ask(session.status_socket, {"get": "status"})
            click.echo(json.dumps(answer, indent=2))
        else:
            click.echo(_text(session, in_brief=in_brief), nl=False)
    except HostError as error:
        return _absent(session, error, quiet=as_json or in_brief)
    return exits.OK


def _text(session: Session, *, in_brief: bool) -> str:
    status = read_status(session.status_socket)
    if in_brief:
        return brief(status) + "\n"
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return render(status, width)


def _absent(session: Session, error: HostError, *, quiet: bool) -> int:
    complain(error)
    if not quiet and error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        from damos_agent.cli.leftovers import leftovers

        for line in leftovers(session):
            click.echo(line, err=True)
    return exits.exit_code(error)
