"""`damosctl schema`: the JSON Schemas, for editors and pipelines that have no checkout."""

from __future__ import annotations

import json

import click

from damos_agent.cli import exits


@click.command("schema", epilog="Exit code: 0.")
@click.argument(
    "kind", type=click.Choice(["policy", "agent", "event", "outcome"]), default="policy"
)
def command(kind: str) -> int:
    """Print the schema of policy files (the default), of agent.yaml, of the agent's log lines, or
    of outcome records.

    They keep to draft-07, which editors speak.
    """
    if kind == "event":
        from damos_agent.agent.event_doc import event_schema

        click.echo(json.dumps(event_schema(), indent=2))
        return exits.OK
    if kind == "outcome":
        from damos_agent.agent.event_doc import outcome_schema

        click.echo(json.dumps(outcome_schema(), indent=2))
        return exits.OK
    from damos_agent.config.schema import schemas

    click.echo(schemas()[f"{kind}-v1.schema.json"], nl=False)
    return exits.OK
