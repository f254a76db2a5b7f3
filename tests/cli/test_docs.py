"""docs/damosctl.md names every verb and option, and its examples do what it says."""

import re
import shlex
import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click
import pytest

from damos_agent.cli.main import VERBS, damosctl
from tests.cli.desk import BAD, POLICIES, WORK, Desk, agent
from tests.cli.test_outcomes import keep, record

PAGE = (Path(__file__).parents[2] / "docs/damosctl.md").read_text()
_EXIT = re.compile(r"\s+# exit (\d+)$")


@dataclass(frozen=True, slots=True)
class Example:
    """A command, the exit code it is said to have, and the output shown below it."""

    words: tuple[str, ...]
    code: int
    output: str


def examples(text: str) -> list[Example]:
    """Everything in `console` blocks."""
    found: list[Example] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            code = _EXIT.search(command)
            words = shlex.split(_EXIT.sub("", command))
            assert words[0] == "damosctl"
            found.append(Example(tuple(words[1:]), int(code[1]) if code else 0, output))
    return found


def section(title: str) -> str:
    """The text below a heading of the second level."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def options_of(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


EXAMPLES = examples(PAGE)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_is_described_and_shown(verb: str) -> None:
    text = section(verb)
    shown = {word for example in examples(text) for word in example.words}

    for option in options_of(import_module(f"damos_agent.cli.{verb}").command):
        assert [name for name in option.opts if f"`{name}`" not in text] == []
        assert shown & set(option.opts), f"no example of {option.opts[0]}"
    assert verb in shown


def test_every_global_option_is_described_and_shown() -> None:
    shown = {word for example in EXAMPLES for word in example.words}

    for option in options_of(damosctl):
        assert [name for name in option.opts if f"`{name}`" not in PAGE] == []
        assert shown & set(option.opts), f"no example of {option.opts[0]}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: " ".join(example.words))
def test_an_example_does_what_the_page_says(
    example: Example, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(POLICIES, tmp_path / "policies")
    (tmp_path / "broken.yaml").write_text(BAD)
    (tmp_path / "work.yaml").write_text(WORK)
    searched = tmp_path / "image/etc/damos-agent/policies.d"
    searched.mkdir(parents=True)
    (searched / "work.yaml").write_text(WORK)
    desk.world.spawn("work")
    records = [record("proactive-reclaim"), record("db")]
    keep(tmp_path / "records.jsonl", *records)
    keep(desk.run_root / "outcomes.jsonl", *records)

    with agent(desk.run_root):
        result = desk.run(*example.words)

    assert result.exit_code == example.code, result.output
    assert result.output.startswith(example.output)
    assert result.output or "validate" in example.words  # silence is its good news
