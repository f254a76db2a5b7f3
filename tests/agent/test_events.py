"""The table of events is complete, enforced, and what schemas and pages say."""

import ast
import io
import json
import re
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest

from damos_agent.agent.event_doc import documents, event_schema, main, stale
from damos_agent.agent.event_spec import Event, Field, Kind
from damos_agent.agent.events import EVENTS, check, emit
from damos_agent.agent.log import open_log
from damos_agent.agent.main import EX_CONFIG, EX_FAILURE, EX_NOPERM
from damos_agent.model.codec import encode
from damos_agent.model.settings import LogFormat, LogLevel
from damos_agent.model.status import GoalStatus, SchemeOutcome

ROOT = Path(__file__).parents[2]

SAMPLES: dict[Kind, object] = {
    Kind.TEXT: "text",
    Kind.INTEGER: -3,
    Kind.FLAG: False,
    Kind.TEXTS: ["a", "b"],
    Kind.INTEGERS: [1, 2],
    Kind.OBJECT: {"kind": "OutcomeRecord"},
    Kind.GOALS: [encode(GoalStatus("rss", "size", 1 << 30, None))],
}


def sample(event: Event, *, optional: bool) -> dict[str, object]:
    wanted = EVENTS[event].fields.items()
    return {name: SAMPLES[f.kind] for name, f in wanted if optional or not f.optional}


def logged(event: Event, fields: dict[str, object]) -> dict[str, object]:
    stream = io.StringIO()
    logger = open_log(LogFormat.JSON, LogLevel.DEBUG, stream=stream, environ={}, clock=lambda: 0.0)
    emit(logger, event, **fields)
    line: dict[str, object] = json.loads(stream.getvalue())
    return line


def test_every_event_has_a_row() -> None:
    assert set(EVENTS) == set(Event)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("optional", [True, False])
def test_every_line_matches_the_schema(event: Event, optional: bool) -> None:
    validator = jsonschema.Draft7Validator(event_schema())
    line = logged(event, sample(event, optional=optional))
    assert list(validator.iter_errors(line)) == []
    assert line["event"] == event.value
    assert line["level"] == EVENTS[event].level.value


@pytest.mark.parametrize("name", ["event-v1", "outcome-v1", "policy-v1"])
def test_schemas_are_valid_draft_7(name: str) -> None:
    path = ROOT / f"schemas/{name}.schema.json"
    jsonschema.Draft7Validator.check_schema(json.loads(path.read_text()))


def test_the_schema_refuses_other_events_fields_and_types() -> None:
    validator = jsonschema.Draft7Validator(event_schema())
    line = logged(Event.POOL_CREATED, {"slots": 3})
    assert validator.is_valid(line)
    assert not validator.is_valid(line | {"event": "pool_drained"})
    assert not validator.is_valid(line | {"extra": 1})
    assert not validator.is_valid(line | {"slots": "3"})


def test_outcome_lines_carry_all_a_scheme_outcome_holds() -> None:
    carried = EVENTS[Event.SCHEME_OUTCOME].fields.keys()
    assert {field.name for field in fields(SchemeOutcome)} <= carried
    line = logged(Event.SCHEME_OUTCOME, sample(Event.SCHEME_OUTCOME, optional=True))
    jsonschema.Draft7Validator(event_schema()).validate(line)


def test_a_missing_field_is_an_error() -> None:
    with pytest.raises(TypeError, match="pool_created needs field slots"):
        check(Event.POOL_CREATED, {})


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(TypeError, match="pool_created has no field colour"):
        check(Event.POOL_CREATED, {"slots": 1, "colour": "red"})


@pytest.mark.parametrize("value", ["1", True, 1.5, [1]])
def test_a_field_of_another_type_is_an_error(value: object) -> None:
    with pytest.raises(TypeError, match="field slots"):
        check(Event.POOL_CREATED, {"slots": value})


def test_optional_fields_may_be_absent_or_none() -> None:
    fields = sample(Event.COMPILE_FAILED, optional=False)
    check(Event.COMPILE_FAILED, fields)
    check(Event.COMPILE_FAILED, {**fields, "hint": None})


def test_units_stand_where_names_have_them() -> None:
    suffixes = {"_us": "us", "_bytes": "bytes"}
    for event, spec in EVENTS.items():
        for name, field in spec.fields.items():
            for suffix, unit in suffixes.items():
                if name.endswith(suffix):
                    assert field.unit == unit, (event, name)


def test_committed_schemas_and_pages_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert stale(ROOT) == []
    assert main([str(ROOT), "--check"]) == 0
    assert capsys.readouterr().err == ""


def test_a_stale_page_is_told_and_renewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, text in documents().items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "docs/events.md").write_text("old")
    assert main([str(tmp_path), "--check"]) == 1
    assert "docs/events.md is stale" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 0
    assert stale(tmp_path) == []


def test_fields_are_described() -> None:
    described: list[Field] = [f for spec in EVENTS.values() for f in spec.fields.values()]
    assert all(field.meaning for field in described)


def emit_calls() -> list[tuple[str, Event, set[str], bool]]:
    """Every `emit(logger, Event.X, …)` of the source: place, event, fields, whether all of them."""
    calls = []
    for path in sorted((ROOT / "damos_agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="emit"),
                    args=[_, ast.Attribute(value=ast.Name(id="Event"), attr=name)],
                    keywords=keywords,
                ):
                    given = {keyword.arg for keyword in keywords if keyword.arg is not None}
                    whole = len(given) == len(keywords)
                    calls.append((f"{path.name}:{node.lineno}", Event[name], given, whole))
    return calls


def test_every_call_in_the_source_gives_the_fields_of_the_table() -> None:
    """`emit` raises on a wrong field; this finds it also on paths no other test takes."""
    calls = emit_calls()
    assert len(calls) > 20
    wrong = []
    for place, event, given, whole in calls:
        known = EVENTS[event].fields
        required = {name for name, field in known.items() if not field.optional}
        if given - known.keys() or (whole and required - given):
            wrong.append((place, event.value, given - known.keys(), required - given))
    assert wrong == []


def test_every_event_is_used_somewhere() -> None:
    source = "".join(
        path.read_text()
        for path in (ROOT / "damos_agent").rglob("*.py")
        if path.name not in ("event_spec.py", "event_table.py")
    )
    assert [event.name for event in Event if f"Event.{event.name}" not in source] == []


def test_the_exit_codes_told_are_those_there_are() -> None:
    told = re.findall(r"(\d+):", EVENTS[Event.AGENT_FAILED].fields["exit_code"].meaning)
    assert list(map(int, told)) == [EX_FAILURE, EX_NOPERM, EX_CONFIG]
