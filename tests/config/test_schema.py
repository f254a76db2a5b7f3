"""The committed schemas and pages are fresh, and say the same in draft-07 and 2020-12."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from damos_agent.config.compile import compile_files
from damos_agent.config.reference import references
from damos_agent.config.schema import normalise, schemas, stale, write_or_check

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "policies").glob("*.yaml"))
BAD = sorted((Path(__file__).parent / "testdata").glob("*.bad.yaml"))
DRAFTS = [jsonschema.Draft7Validator, jsonschema.Draft202012Validator]

# Faults of shape and words that a schema can express, by example.
EXPRESSIBLE = {"DA020", "DA022", "DA024", "DA025", "DA029", "DA033"}


def schema_for(document: Any) -> dict[str, Any]:
    kind = document.get("kind") if isinstance(document, dict) else None
    name = "agent-v1.schema.json" if kind == "Agent" else "policy-v1.schema.json"
    loaded: dict[str, Any] = json.loads((ROOT / "schemas" / name).read_text())
    return loaded


def test_schemas_are_fresh() -> None:
    assert stale(str(ROOT / "schemas"), schemas()) == []


def test_pages_are_fresh() -> None:
    assert stale(str(ROOT / "docs"), references()) == []


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_fit(path: Path, draft: Any) -> None:
    document = yaml.safe_load(path.read_text())
    draft.check_schema(schema_for(document))

    assert [error.message for error in draft(schema_for(document)).iter_errors(document)] == []


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.removesuffix(".bad.yaml"))
def test_both_drafts_judge_bad_files_alike(path: Path) -> None:
    try:
        documents = list(yaml.safe_load_all(path.read_bytes()))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return
    for document in documents:
        verdicts = {draft(schema_for(document)).is_valid(document) for draft in DRAFTS}
        assert len(verdicts) == 1


@pytest.mark.parametrize(
    "path",
    [path for path in BAD if path.name[:5] in EXPRESSIBLE],
    ids=lambda path: path.name.removesuffix(".bad.yaml"),
)
def test_the_schema_sees_faults_of_shape(path: Path) -> None:
    document = yaml.safe_load(path.read_text())

    assert not jsonschema.Draft7Validator(schema_for(document)).is_valid(document)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_have_a_modeline_and_no_findings(path: Path) -> None:
    compiled = compile_files([str(path)])
    kind = "agent" if path.stem == "agent" else "policy"

    first = path.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../schemas/{kind}-v1.schema.json"
    assert compiled.findings == ()
    assert [file.findings for file in compiled.files] == [()] * (kind == "policy")


def test_samples_together_have_no_findings() -> None:
    compiled = compile_files([str(ROOT / "policies")])

    assert compiled.settings is not None
    assert [one for file in compiled.files for one in file.findings] == []
    assert [file.policy.name for file in compiled.files if file.policy] == [
        Path(file.path).stem for file in compiled.files
    ]


def words_of(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        inner = [words_of(value) for value in schema.values()]
        return set(schema).union(*inner)
    if isinstance(schema, list):
        return set().union(*[words_of(value) for value in schema])
    return set()


@pytest.mark.parametrize("name", list(schemas()))
def test_only_words_that_both_drafts_know(name: str) -> None:
    schema = json.loads(schemas()[name])

    assert not words_of(schema) & {"prefixItems", "$defs", "unevaluatedProperties", "$anchor"}


@pytest.mark.parametrize("name", list(schemas()))
def test_every_field_is_described(name: str) -> None:
    schema = json.loads(schemas()[name])
    for part in (schema, *schema["definitions"].values()):
        for key, field in part.get("properties", {}).items():
            assert field.get("description"), key


def test_nothing_stands_beside_a_reference() -> None:
    assert normalise({"$ref": "#/$defs/A", "description": "x"}) == {
        "description": "x",
        "allOf": [{"$ref": "#/definitions/A"}],
    }


def test_check_writes_nothing(tmp_path: Path) -> None:
    assert write_or_check(str(tmp_path), {"a": "1"}, check=True) == 1
    assert list(tmp_path.iterdir()) == []
    assert write_or_check(str(tmp_path), {"a": "1"}, check=False) == 0
    assert write_or_check(str(tmp_path), {"a": "1"}, check=True) == 0
