"""The frame: help, misuse, exit codes, and what is not imported."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from damos_agent.cli.main import VERBS, damosctl
from tests.cli.desk import BAD, Desk

PROGRAM = "import sys; from damos_agent.cli.main import main; sys.exit(main())"


def program(*args: str) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *args], capture_output=True, text=True, check=False
    )


def test_help_names_every_verb() -> None:
    result = CliRunner().invoke(damosctl, ["--help"])

    assert [line for verb, line in VERBS.items() if f"{verb} " not in result.output] == []
    assert result.exit_code == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_explains_itself(verb: str) -> None:
    command = import_module(f"damos_agent.cli.{verb}").command
    options = [p for p in command.params if isinstance(p, click.Option)]

    assert command.name == verb
    assert command.help
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("frobnicate",),
        ("--color", "mauve", "validate"),
        ("validate", "/does/not/exist"),
        ("validate", "--output", "xml"),
        ("status", "--watch", "0"),
        ("plan", "--nope"),
    ],
)
def test_wrong_use_is_64(args: tuple[str, ...]) -> None:
    assert CliRunner().invoke(damosctl, args).exit_code == 64


def test_an_option_at_the_wrong_place_is_put_right() -> None:
    result = CliRunner().invoke(damosctl, ("status", "--run-root", "/tmp"))
    assert result.exit_code == 64
    assert "damosctl --run-root … status" in result.output


def test_a_misspelt_verb_is_guessed() -> None:
    assert "Did you mean validate?" in CliRunner().invoke(damosctl, ["valdate"]).output


def test_the_program_exits_with_the_code_of_the_verb(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)

    found = program("validate", str(tmp_path))

    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout.startswith(f"{tmp_path}/bad.yaml:14:15: error DA022: unknown key `sise`")
    assert program("plan", "--kernel", "six").returncode == 64
    assert program("validate", "--nope").returncode == 64
    assert program("--version").returncode == 0


def test_no_traceback_unless_asked_for(tmp_path: Path) -> None:
    args = ("--run-root", str(tmp_path), "status")

    plain, debug = program(*args), program("--debug", *args[:2], "reload")

    assert plain.returncode == debug.returncode == 1
    assert "Traceback" not in plain.stderr
    assert "the agent is not running here" in plain.stderr
    assert "Traceback" in debug.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    head = f"{sys.executable} -c '{PROGRAM}' schema policy | head -1"

    found = subprocess.run(["sh", "-c", head], capture_output=True, text=True, check=False)

    assert found.stdout == "{\n"
    assert found.stderr == ""


_LOADED = """
import sys
from damos_agent.cli.main import damosctl
damosctl.main({args!r}, standalone_mode=False)
print(*sorted(sys.modules), file=sys.stderr)
"""


def loaded(*args: str) -> set[str]:
    """Modules imported by a run."""
    found = subprocess.run(
        [sys.executable, "-c", _LOADED.format(args=list(args))],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    modules = loaded("--help")

    heavy = {"rich", "pydantic", "yaml", "json", "damos_agent.kernel", "damos_agent.agent"}
    assert modules & heavy == set()
    assert "click" in modules


def test_validate_imports_neither_rich_nor_the_kernel_floor(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)

    modules = loaded("validate", str(tmp_path))

    assert modules & {"rich", "damos_agent.kernel", "damos_agent.agent", "structlog"} == set()
    assert "pydantic" in modules


def test_colours_only_where_they_are_asked_for(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    path = str(tmp_path / "bad.yaml")

    assert "\x1b[" not in desk.run("validate", path).output
    assert "\x1b[" in desk.run("--color", "always", "validate", path).output
    assert "\x1b[" not in desk.run("--color", "never", "validate", path).output
