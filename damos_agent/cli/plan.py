"""`damosctl plan`: what the agent would write, in order, and why. Writes nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from damos_agent.cli import exits
from damos_agent.cli.kernel_option import check_release
from damos_agent.cli.session import Session
from damos_agent.cli.sources import PATHS, compile_from, effective, rejected_names, report_errors

_FORMATS: Final = {"text": "plan_text", "sysfs": "plan_sysfs", "json": "plan_json"}


@click.command(
    "plan",
    epilog="Exit code: 0 planned, 1 a policy file has errors; with --detailed-exitcode also "
    "2 when there is something to write.",
)
@PATHS
@click.option(
    "--kernel",
    callback=check_release,
    metavar="RELEASE",
    help="Plan for a fresh machine with this mainline kernel, such as 6.12, instead; with "
    "--sysfs-root, for that copy of a machine with this kernel.",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(list(_FORMATS)),
    default="text",
    show_default=True,
    help="text: grouped, old → new. sysfs: shell lines in order.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there are changes.")
@click.pass_obj
def command(
    session: Session,
    paths: tuple[str, ...],
    kernel: str | None,
    output: str,
    detailed_exitcode: bool,
) -> int:
    """Show what would be written for the policies at PATH, or those on the search path.

    Policies that are not named count as not wanted: a running agent's others are planned to
    stop. Reading DAMON's files needs root; --kernel needs nothing.
    """
    compiled = compile_from(session, paths)
    bad = report_errors(compiled)
    policies, settings = effective(compiled)

    from damos_agent.cli.machine import is_copy
    from damos_agent.cli.preview import preview_live, preview_profile
    from damos_agent.cli.steps import memory_names

    if kernel is None or is_copy(session):
        preview = preview_live(session, policies, settings, rejected_names(compiled), kernel)
    else:
        preview = preview_profile(kernel, policies, settings)
    render = import_module(f"damos_agent.cli.{_FORMATS[output]}").render
    click.echo(render(preview, session.roots.sysfs, memory_names(policies)), nl=False)
    if bad:
        return exits.FAILED
    return exits.CHANGES if detailed_exitcode and not preview.plan.empty else exits.OK
