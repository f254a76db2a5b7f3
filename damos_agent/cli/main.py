"""`damosctl`: the verbs, the options before them, and the one place where errors are caught.

A verb's module is imported only when the verb is used, so that `--help` and `validate` need
neither the kernel floor nor a terminal library.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Final, TypeVar

import click

from damos_agent.cli import exits
from damos_agent.cli.complaint import complain
from damos_agent.cli.session import Session, color_wish
from damos_agent.host.roots import Roots
from damos_agent.model.errors import DamosError

VERBS: Final[dict[str, str]] = {
    "validate": "Check policy files; needs neither root nor DAMON.",
    "plan": "Show what would be written to the kernel, in order.",
    "status": "Show what the running agent does, policy by policy.",
    "explain": "Tell why a policy does what it does, and not more.",
    "outcomes": "Show what came of the policies, interval by interval.",
    "pause": "Stop what a policy does, or all of them; monitoring goes on.",
    "resume": "Let it go on, also where a guard has stopped it.",
    "feed": "Tell the agent a number for goals and guards.",
    "verify": "Tell whether the kernel still matches the policies.",
    "config": "Show the policies in effect and where they come from.",
    "features": "Show what this kernel's DAMON offers.",
    "schema": "Print a JSON Schema.",
    "reload": "Have the agent read its files again.",
}
"""Verb → its line in `--help`; the module of a verb has its name."""

_ROOTS: Final = Roots()
F = TypeVar("F", bound=Callable[..., object])


class Damosctl(click.Group):
    """Finds verbs by name, maps errors to exit codes and never shows a traceback by itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The verbs in the order people need them."""
        return list(VERBS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess at what a misspelt verb was meant to be."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, 1)
            guess = f" Did you mean {close[0]}?" if close else ""
            ctx.fail(f"No such verb {args[0]!r}.{guess}")
        return super().resolve_command(ctx, args)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the verb's module; its `command` is the verb."""
        if cmd_name not in VERBS:
            return None
        command = import_module(f"damos_agent.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """The table of verbs, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; an error of ours becomes two lines and an exit code."""
        try:
            return super().invoke(ctx)
        except DamosError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            complain(error)
            ctx.exit(exits.exit_code(error))
        except click.NoSuchOption as error:
            name = error.option_name
            if not any(name in option.opts for option in self.params):
                raise
            raise click.UsageError(
                f"{name} goes before the verb: damosctl {name} … {ctx.invoked_subcommand}",
                error.ctx,
            ) from error

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> int:
        """Parse, run, exit. With `standalone_mode=False` the exit code is returned."""
        code = self._run(args, prog_name or "damosctl", complete_var, extra)
        if standalone_mode:
            sys.exit(code)
        return code

    def _run(
        self,
        args: Sequence[str] | None,
        prog_name: str,
        complete_var: str | None,
        extra: MutableMapping[str, Any],
    ) -> int:
        try:
            result = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            return exits.USAGE
        except (click.Abort, KeyboardInterrupt):
            return exits.INTERRUPTED
        except BrokenPipeError:
            # The reader (`| head`) has what it wanted; the interpreter's own flush must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return exits.FAILED
        return result if isinstance(result, int) else exits.OK


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"damosctl {version('damos-agent')}")
        ctx.exit()


def _root(name: str, default: str, text: str) -> Callable[[F], F]:
    return click.option(
        f"--{name}-root", metavar="DIR", default=default, show_default=True, help=text
    )


@click.command(
    cls=Damosctl,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 findings, drift or failure, 2 changes (plan "
    "--detailed-exitcode), 64 wrong use, 69 no DAMON here, 77 no permission.",
)
@_root("sysfs", _ROOTS.sysfs, "Where sysfs is, or a copy of it.")
@_root("proc", _ROOTS.proc, "Where proc is.")
@_root("cgroup", _ROOTS.cgroup, "Where the cgroup v2 hierarchy is.")
@_root("config", _ROOTS.config, "Where etc, run and usr of the search path are.")
@_root("run", _ROOTS.run, "Where the agent keeps its state and its status socket.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colours and lines; auto: only on a terminal.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_context
def damosctl(ctx: click.Context, /, color: str, debug: bool, **roots: str) -> None:
    """Memory policies for Linux: check them, plan them, and see what they do.

    Only `reload`, `pause`, `resume` and `feed` change anything, and only by asking the agent.
    """
    ctx.color = color_wish(color)
    session = ctx.obj if isinstance(ctx.obj, Session) else Session()
    clean = {name.removesuffix("_root"): path.rstrip("/") or "/" for name, path in roots.items()}
    ctx.obj = replace(session, roots=Roots(**clean), color=ctx.color, debug=debug)


def main() -> int:
    """Entry point of the `damosctl` program."""
    return damosctl.main(standalone_mode=False)


if __name__ == "__main__":
    sys.exit(main())
