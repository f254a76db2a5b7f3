"""validate: the verdict, and each form it comes in."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from damos_agent.cli.output import as_json, github, junit, sarif, text
from damos_agent.cli.output.annotate import annotate
from damos_agent.cli.output.report import Render, Report, summary
from damos_agent.model.finding import Finding, Severity
from tests.cli.desk import BAD, POLICIES, WORK, Desk

ERROR = Finding("DA022", Severity.ERROR, "unknown key `a:b`, 100%\nsure", "p/a b.yaml", 3, 5, "<x>")
WARNING = Finding("DA101", Severity.WARNING, "same memory", "/etc/b.yaml", 1, 1)
WHOLE = Finding("DA001", Severity.ERROR, "cannot read", "/etc/c.yaml")
REPORT = Report(
    {"p/a b.yaml": (ERROR,), "/etc/b.yaml": (WARNING,), "/etc/c.yaml": (WHOLE,), "d.yaml": ()}
)
EMPTY = Report({})

_REGION = {
    "type": "object",
    "required": ["startLine", "startColumn"],
    "properties": {"startLine": {"minimum": 1}, "startColumn": {"minimum": 1}},
}
_PHYSICAL = {
    "type": "object",
    "required": ["artifactLocation"],
    "properties": {
        "artifactLocation": {"type": "object", "required": ["uri"]},
        "region": _REGION,
    },
}
_RESULT = {
    "type": "object",
    "required": ["ruleId", "ruleIndex", "level", "message", "locations"],
    "properties": {
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": {"type": "object", "required": ["text"]},
        "locations": {
            "type": "array",
            "minItems": 1,
            "items": {"required": ["physicalLocation"],
                      "properties": {"physicalLocation": _PHYSICAL}},
        },
    },
}  # fmt: skip
_DRIVER = {
    "type": "object",
    "required": ["name", "rules"],
    "properties": {"rules": {"items": {"required": ["id", "shortDescription"]}}},
}
SARIF = {
    "type": "object",
    "required": ["version", "runs", "$schema"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["tool", "results"],
                "properties": {
                    "tool": {"required": ["driver"], "properties": {"driver": _DRIVER}},
                    "results": {"type": "array", "items": _RESULT},
                },
            },
        },
    },
}
"""The parts of SARIF 2.1.0 (OASIS, sections 3.13 to 3.30) that consumers rely on."""


def test_text_is_what_editors_read() -> None:
    assert text.render(REPORT).splitlines()[-2:] == [
        "\x1b[1m/etc/b.yaml:1:1\x1b[0m: \x1b[33m\x1b[1mwarning DA101:\x1b[0m same memory",
        "\x1b[1m/etc/c.yaml\x1b[0m: \x1b[31m\x1b[1merror DA001:\x1b[0m cannot read",
    ]


def test_github_commands_are_escaped() -> None:
    assert github.render(REPORT).splitlines() == [
        "::error file=p/a b.yaml,line=3,col=5,title=DA022::unknown key `a:b`, 100%25%0Asure (<x>)",
        "::warning file=/etc/b.yaml,line=1,col=1,title=DA101::same memory",
        "::error file=/etc/c.yaml,title=DA001::cannot read",
    ]


def test_sarif_has_what_the_standard_asks_for() -> None:
    document = json.loads(sarif.render(REPORT))
    run = document["runs"][0]

    jsonschema.validate(document, SARIF)
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[item["ruleIndex"]] for item in run["results"]] == ["DA022", "DA101", "DA001"]
    places = [item["locations"][0]["physicalLocation"] for item in run["results"]]
    assert places[0]["artifactLocation"]["uri"] == "p/a%20b.yaml"
    assert places[1]["artifactLocation"]["uri"] == "file:///etc/b.yaml"
    assert "region" not in places[2]


def test_junit_has_a_case_per_file() -> None:
    root = ET.fromstring(junit.render(REPORT))
    cases = {case.get("name"): case for case in root.iter("testcase")}

    assert list(cases) == ["p/a b.yaml", "/etc/b.yaml", "/etc/c.yaml", "d.yaml"]
    assert (root.get("tests"), root.get("failures")) == ("4", "2")
    assert [name for name, case in cases.items() if case.find("failure") is not None] == [
        "p/a b.yaml",
        "/etc/c.yaml",
    ]
    failure = cases["p/a b.yaml"].find("failure")
    assert failure is not None
    assert failure.text == str(ERROR)


def test_json_tells_everything() -> None:
    document = json.loads(as_json.render(REPORT))

    assert [(file["path"], file["valid"]) for file in document["files"]] == [
        ("p/a b.yaml", False),
        ("/etc/b.yaml", True),
        ("/etc/c.yaml", False),
        ("d.yaml", True),
    ]
    assert document["files"][0]["findings"][0]["hint"] == "<x>"
    assert document["summary"] == {
        "files": 4, "rejected": 2, "errors": 2, "warnings": 1, "notes": 0,
    }  # fmt: skip


@pytest.mark.parametrize("render", [text.render, github.render])
def test_nothing_found_is_nothing_printed(render: Render) -> None:
    assert render(EMPTY) == ""


def test_a_summary_counts() -> None:
    assert summary(REPORT) == "4 files, 2 rejected: 2 errors, 1 warning, 0 notes"


def test_marks_stand_where_the_findings_are() -> None:
    here = Finding("DA022", Severity.ERROR, "unknown", "x", 2, 1, "try b")

    assert annotate("a: 1\nc: 2\n", (here,)) == (
        "a: 1\nc: 2  # \x1b[31mE1\x1b[0m\n# ----\n# \x1b[31mE1\x1b[0m: DA022 unknown (try b)\n"
    )
    assert annotate("a: 1\n", ()) == "a: 1\n"


def test_the_shipped_policies_are_fine(desk: Desk) -> None:
    result = desk.run("validate", "--lint-fatal", "--summary", str(POLICIES))

    count = len(list(POLICIES.glob("*.yaml"))) - 1  # agent.yaml is no policy
    assert result.exit_code == 0
    assert result.output == f"{count} files, 0 rejected: 0 errors, 0 warnings, 0 notes\n"


def test_a_bad_file_is_1_in_every_form(desk: Desk) -> None:
    path = str(desk.put("bad.yaml", BAD))

    forms = ["text", "json", "github", "sarif", "junit"]
    results = [desk.run("validate", "-o", form, path) for form in forms]

    assert [result.exit_code for result in results] == [1] * 5
    assert all("DA022" in result.output and "sise" in result.output for result in results)


def test_warnings_fail_only_if_asked_to(desk: Desk) -> None:
    one = desk.put("one.yaml")
    other = desk.put("two.yaml", WORK.replace("name: work", "name: also-work"))

    calm = desk.run("validate", str(one), str(other))
    strict = desk.run("validate", "--lint-fatal", str(one), str(other))

    assert calm.output == strict.output
    assert "warning DA101" in calm.output
    assert (calm.exit_code, strict.exit_code) == (0, 1)


def test_without_a_path_the_search_path_is_read(desk: Desk) -> None:
    path = desk.put("bad.yaml", BAD)

    result = desk.run("validate")

    assert result.exit_code == 1
    assert result.output.startswith(f"{path}:14:15: error DA022")


def test_a_directory_without_policies_is_no_success(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    result = desk.run("validate", str(tmp_path / "empty"))

    assert result.exit_code == 1
    assert "no policy file" in result.stderr


def test_annotate_prints_only_files_with_findings(desk: Desk) -> None:
    desk.put("bad.yaml", BAD)
    desk.put("good.yaml")

    result = desk.run("validate", "--annotate", str(desk.policies))

    assert result.exit_code == 1
    assert "sise: 1MiB, interval: 1s}  # E1" in result.output
    assert "name: work" not in result.output


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("text", "<stdin>:14:15: error DA022"),
        ("json", '"path": "<stdin>"'),
        ("github", "::error file=<stdin>,line=14,col=15,title=DA022"),
        ("sarif", '"uri": "%3Cstdin%3E"'),
        ("junit", 'name="&lt;stdin&gt;"'),
    ],
)
def test_a_policy_comes_from_standard_input_in_every_format(
    desk: Desk, output: str, place: str
) -> None:
    bad = desk.run("validate", "-o", output, "-", stdin=BAD)
    good = desk.run("validate", "-o", output, "-", stdin=WORK)

    assert (bad.exit_code, good.exit_code) == (1, 0)
    assert place in bad.stdout
    assert "DA022" not in good.stdout


def test_standard_input_stands_beside_files_and_is_marked(desk: Desk) -> None:
    file = str(desk.put("work.yaml"))
    other = BAD.replace("name: bad", "name: other")

    both = desk.run("validate", "--summary", file, "-", stdin=other)
    marked = desk.run("validate", "--annotate", "-", stdin=BAD)

    assert both.stdout.splitlines()[-1].startswith("2 files, 1 rejected")
    assert "      quota: {sise: 1MiB, interval: 1s}  # E1\n" in marked.stdout


@pytest.mark.parametrize(
    ("given", "code"), [(b"", "DA005"), (b"\xff", "DA003"), (b"#" * 262145, "DA002")]
)
def test_standard_input_is_held_to_what_files_are(desk: Desk, given: bytes, code: str) -> None:
    result = desk.run("validate", "-", stdin=given)

    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>")
    assert f"error {code}" in result.stdout


def test_plan_takes_standard_input_too(desk: Desk) -> None:
    result = desk.run("plan", "--kernel", "7.3", "-", stdin=WORK)

    assert result.exit_code == 0
    assert "work: start in slot 0" in result.stdout
