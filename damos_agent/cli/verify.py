"""`damosctl verify`: whether the kernel still is as the policies want it. Writes nothing."""

from __future__ import annotations

import json
from typing import Final

import click

from damos_agent.cli import exits
from damos_agent.cli.preview import Preview, preview_live
from damos_agent.cli.session import Session
from damos_agent.cli.sources import compile_from, effective, rejected_names, report_errors
from damos_agent.model.damon import Change, SlotPlan, Write

_WHOLE: Final = frozenset({Change.START, Change.RESTART})


@click.command(
    "verify",
    epilog="Exit code: 0 everything is as it should be, 1 something differs or cannot be.",
)
@click.option(
    "--ignore-missing", is_flag=True, help="Policies that this kernel cannot run are no drift."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def command(session: Session, ignore_missing: bool, as_json: bool) -> int:
    """Compare the policies on the search path with what DAMON holds and runs.

    Policies waiting for a process are no drift. A process that came just now is drift until the
    agent has followed it, by default within ten seconds.
    """
    compiled = compile_from(session, ())
    bad = report_errors(compiled)
    policies, settings = effective(compiled)
    preview = preview_live(session, policies, settings, rejected_names(compiled))
    unsupported = {} if ignore_missing else preview.unsupported
    drifted = bool(preview.plan.slots or unsupported)
    if as_json:
        click.echo(json.dumps(_document(preview, ignored=ignore_missing), indent=2))
    else:
        _print(preview, ignored=ignore_missing)
    return exits.FAILED if drifted or bad else exits.OK


def _document(preview: Preview, *, ignored: bool) -> dict[str, object]:
    drift = [
        {"policy": work.policy, "slot": work.slot, "change": work.change, "reason": work.reason,
         "differences": _differences(work)}
        for work in preview.plan.slots
    ]  # fmt: skip
    return {
        "in_sync": list(preview.in_sync),
        "drift": drift,
        "held": preview.held,
        "waiting": preview.waiting,
        "userspace": preview.userspace,
        "unsupported": {} if ignored else preview.unsupported,
        "ignored": preview.unsupported if ignored else {},
    }


def _differences(work: SlotPlan) -> list[dict[str, str | None]]:
    return [
        {"path": step.path, "found": step.old, "wanted": step.value}
        for step in work.steps
        if isinstance(step, Write)
    ]


def _print(preview: Preview, *, ignored: bool) -> None:
    for name in preview.in_sync:
        click.echo(f"{click.style('ok', fg='green', bold=True)}           {name}")
    for name, reason in preview.held.items():
        click.echo(f"{click.style('paused', fg='yellow', bold=True)}       {name}: {reason}")
    for name, reason in preview.userspace.items():
        click.echo(f"{click.style('user space', fg='cyan', bold=True)}   {name}: {reason}")
    for name, reason in preview.waiting.items():
        click.echo(f"{click.style('waiting', fg='cyan', bold=True)}      {name}: {reason}")
    label = "ignored    " if ignored else "unsupported"
    for name, reason in preview.unsupported.items():
        click.echo(f"{click.style(label, fg='yellow', bold=True)}  {name}: {reason}")
    for work in preview.plan.slots:
        head = click.style("drift", fg="red", bold=True)
        click.echo(f"{head}        {work.policy or 'all slots'}: {work.reason} ({work.change})")
        if work.change in _WHOLE:
            click.echo("             see `damosctl plan` for all that would be written")
            continue
        for difference in _differences(work):
            found = difference["found"]
            was = "not known" if found is None else f"found {found or chr(34) * 2}"
            click.echo(f"             {difference['path']}: {was}, wanted {difference['wanted']}")
    if not preview.policies and not preview.plan.slots:
        click.echo("no policies, and nothing of the agent's in the kernel")
