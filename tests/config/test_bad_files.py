"""Every finding code has files that cause it, and says so at the place a person would look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from damos_agent.config.codes import CODES
from damos_agent.config.compile import compile_files
from damos_agent.model.finding import Finding, Severity

TESTDATA = Path(__file__).parent / "testdata"
BAD = sorted(TESTDATA.glob("*.bad.yaml"))

# These depend on several files, directories or owners: test_searchpath.py, test_across.py.
ELSEWHERE = {"DA001", "DA100", "DA101", "DA110", "DA111", "DA112", "DA113", "DA114"}


def findings_of(path: Path) -> tuple[Finding, ...]:
    compiled = compile_files([str(path)])
    return (*compiled.findings, *(one for file in compiled.files for one in file.findings))


def expected(path: Path) -> tuple[str, int, int]:
    first = path.read_bytes().splitlines()[0].decode()
    match = re.fullmatch(r"# expect: (DA\d{3}) (\d+):(\d+)", first)
    assert match is not None, first
    return match[1], int(match[2]), int(match[3])


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.removesuffix(".bad.yaml"))
def test_bad_file_gives_its_code_at_its_place(path: Path) -> None:
    found = findings_of(path)

    assert [(one.code, one.line, one.column) for one in found] == [expected(path)]
    assert path.name.startswith(found[0].code)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.removesuffix(".bad.yaml"))
def test_only_errors_reject(path: Path) -> None:
    compiled = compile_files([str(path)])
    policy = compiled.files[0].policy if compiled.files else compiled.settings
    errors = [one for one in findings_of(path) if one.severity is Severity.ERROR]

    assert (policy is None) == bool(errors)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.removesuffix(".bad.yaml"))
def test_messages_are_ours(path: Path) -> None:
    """No wording of pydantic reaches the user, and messages are one short line."""
    for one in findings_of(path):
        assert not re.search(r"Input should|valid (string|integer)|\bdict\b|pydantic", one.message)
        assert "\n" not in one.message
        assert len(one.message) < 200


def test_every_code_has_a_bad_file() -> None:
    assert {expected(path)[0] for path in BAD} | ELSEWHERE == set(CODES)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("DA022-misspelt-quota", "did you mean quota?"),
        ("DA022-dash", "did you mean apply_interval?"),
        ("DA022-misplaced", "quota belongs in spec.schemes[]: check the indentation"),
        ("DA025-action", "did you mean pageout?"),
        ("DA025-filter", "did you mean anon?"),
        ("DA026-ambiguous", "write MiB"),
        ("DA031-mount", "write /system.slice"),
        ("DA032-unit", "write nginx.service"),
        ("DA021-unknown", "did you mean Policy?"),
        ("DA028-capitals", "write my-policy"),
    ],
)
def test_hint_says_what_to_write(name: str, hint: str) -> None:
    (found,) = findings_of(TESTDATA / f"{name}.bad.yaml")

    assert found.hint == hint
