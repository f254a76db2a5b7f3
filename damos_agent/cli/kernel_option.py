"""`--kernel RELEASE`: the name of a mainline kernel, checked before anything is read."""

from __future__ import annotations

import click

from damos_agent.model.errors import UnsupportedError


def check_release(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """`value`, a release such as `6.12` or `7.3.4`; anything else is wrong use (exit 64)."""
    if value is None:
        return None
    # Late: `--help` does without the kernel floor.
    from damos_agent.kernel.features import parse_release
    from damos_agent.model.feature import SINCE

    try:
        release = parse_release(value)
    except UnsupportedError as error:
        first, last = (".".join(map(str, end(SINCE.values()))) for end in (min, max))
        known = f"known are Linux {first} to {last}"
        raise click.BadParameter(f"{error.message} ({error.hint}; {known}).") from error
    newest = max(SINCE.values())
    if release[:2] > newest[:2]:
        text = ".".join(map(str, newest[:2]))
        click.echo(f"Linux {value} is newer than any known here: taken for {text}", err=True)
    return value
