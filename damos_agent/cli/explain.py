"""`damosctl explain`: why a policy does what it does, and why not more."""

from __future__ import annotations

import json
from typing import Any, Final

import click

from damos_agent.agent.status import ask, read_status
from damos_agent.cli import exits
from damos_agent.cli.explain_text import Story, tell, tell_regions
from damos_agent.cli.machine import read_features
from damos_agent.cli.session import Session
from damos_agent.cli.sources import compile_from, effective
from damos_agent.model.codec import decode
from damos_agent.model.errors import DamosError, HostError
from damos_agent.model.userspace import Snapshot

_PATIENCE_S: Final = 15.0
"""The kernel shows regions after an aggregation, which may take five seconds."""


def _address(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return int(value, 0)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no address like 0x7f0012345000") from error


@click.command("explain", epilog="Exit code: 0 told, 1 no such policy, or no agent answers.")
@click.argument("policy")
@click.option(
    "--address", callback=_address, metavar="ADDRESS", help="Why that memory is (not) acted on."
)
@click.option("--pid", type=int, help="Of that process, where several have that address.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def command(
    session: Session, policy: str, address: int | None, pid: int | None, as_json: bool
) -> int:
    """Tell why POLICY's quota is what it is, what limits it, and what memory it sees.

    With --address also which scheme's pattern the region with that address matches, and what else
    decides. Regions are for root and the agent's own user.
    """
    status = read_status(session.status_socket)
    found = [one for one in status.policies if one.name == policy]
    if not found:
        known = ", ".join(one.name for one in status.policies) or "none"
        raise HostError(f"there is no policy {policy}", hint=f"there are: {known}")
    policies, settings = effective(compile_from(session, ()))
    snapshot, why = _snapshot(session, policy)
    story = Story(
        found[0],
        policies.get(policy),
        read_features(session),
        settings.outcome_us,
        snapshot,
        why,
    )
    if as_json:
        click.echo(json.dumps(_document(story, address, pid), indent=2))
        return exits.OK
    for line in tell(story):
        click.echo(line)
    for line in tell_regions(story, session, address, pid):
        click.echo(line)
    return exits.OK


def _snapshot(session: Session, policy: str) -> tuple[Snapshot | None, str]:
    """The regions, or why they cannot be had."""
    try:
        request = {"get": "regions", "policy": policy}
        answer = ask(session.status_socket, request, timeout_s=_PATIENCE_S)
        return decode(Snapshot, answer), ""
    except DamosError as error:
        return None, str(error)


def _document(story: Story, address: int | None, pid: int | None) -> dict[str, Any]:
    from damos_agent.cli.explain_text import document_of

    return document_of(story, address, pid)
