"""JSON Schemas of the two kinds of documents, for editors and CI.

`python -m damos_agent.config.schema DIRECTORY` writes them, `--check` compares instead. Editors
speak draft-07, pydantic emits 2020-12: the normaliser keeps to what both read alike.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Final

from pydantic import BaseModel

from damos_agent.config.shape_agent import AgentDocument
from damos_agent.config.shape_policy import PolicyDocument

_DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_SHAPES: Final[dict[str, type[BaseModel]]] = {
    "policy-v1.schema.json": PolicyDocument,
    "agent-v1.schema.json": AgentDocument,
}
_OUTSIDE: Final = ("feed", "file")
_ONE_KEY: Final = ("TargetShape", "GoalShape", "MatchShape", "FilterShape")


def schemas() -> dict[str, str]:
    """File name → text of every schema."""
    return {name: _text(shape, name) for name, shape in _SHAPES.items()}


def _text(shape: type[BaseModel], name: str) -> str:
    schema = normalise(shape.model_json_schema(by_alias=True))
    definitions = schema.pop("definitions", {})
    if "ProcessShape" in definitions:
        definitions["ProcessShape"]["minProperties"] = 1
    for key in _ONE_KEY:
        if key in definitions:
            definitions[key] |= {"minProperties": 1, "maxProperties": 1}
    if "ExternalShape" in definitions:
        definitions["ExternalShape"]["oneOf"] = [{"required": [name]} for name in _OUTSIDE]
    if "UserInput" in definitions:
        pairs = combinations(("current", *_OUTSIDE), 2)
        both: list[Any] = [{"required": list(pair)} for pair in pairs]
        definitions["UserInput"]["not"] = {"anyOf": both}
    whole = {"$schema": _DRAFT, "$id": f"damos-agent/{name}"} | schema
    return json.dumps(whole | {"definitions": definitions}, indent=2) + "\n"


def normalise(schema: Any) -> Any:
    """The same schema in words that draft-07 and 2020-12 share.

    `$defs` become `definitions`; nothing stands beside a `$ref` (draft-07 ignores it); null is
    not offered, because the language has none; generated titles go.
    """
    if isinstance(schema, list):
        return [normalise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema:
        schema = _without_null(schema)
    result = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "default" and value is None:
            continue
        if key == "$ref":
            result["$ref"] = value.replace("#/$defs/", "#/definitions/")
        elif key in ("properties", "$defs"):
            name = "definitions" if key == "$defs" else key
            result[name] = {inner: normalise(item) for inner, item in value.items()}
        else:
            result[key] = normalise(value)
    if "$ref" in result and len(result) > 1:
        result["allOf"] = [{"$ref": result.pop("$ref")}]
    return result


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    options = [option for option in schema["anyOf"] if option != {"type": "null"}]
    return rest | options[0] if len(options) == 1 else rest | {"anyOf": options}


def stale(directory: str, texts: dict[str, str]) -> list[str]:
    """Names of the files in `directory` that are missing or differ from `texts`."""
    found = []
    for name, text in texts.items():
        try:
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                same = file.read() == text
        except FileNotFoundError:
            same = False
        if not same:
            found.append(name)
    return found


def write_or_check(directory: str, texts: dict[str, str], *, check: bool) -> int:
    """Write the files, or with `check` only say which are stale. Exit status."""
    found = stale(directory, texts)
    if check:
        for name in found:
            sys.stderr.write(f"{os.path.join(directory, name)} is stale: generate it again\n")
        return 1 if found else 0
    os.makedirs(directory, exist_ok=True)
    for name in found:
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(texts[name])
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the schemas."""
    parser = argparse.ArgumentParser(prog="damos_agent.config.schema", description=__doc__)
    parser.add_argument("directory", nargs="?", default="schemas")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    options = parser.parse_args(arguments)
    return write_or_check(options.directory, schemas(), check=options.check)


if __name__ == "__main__":
    sys.exit(main())
