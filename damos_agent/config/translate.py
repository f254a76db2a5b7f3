"""pydantic's errors into our findings: our codes, our words, the place, and a near miss."""

from __future__ import annotations

import difflib
import re
import types
import typing
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from damos_agent.config.codes import finding
from damos_agent.config.document import Loc, Node, locate
from damos_agent.config.quantities import kind_of
from damos_agent.model.finding import Finding

_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_RANGES: Final = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}
_QUOTED: Final = re.compile(r"'([^']*)'")


def translate(
    error: ValidationError, root: Node, shape: type[BaseModel], path: str
) -> list[Finding]:
    """One finding per error, in the order of the file."""
    found = [
        _one(detail, root, shape, path)
        for detail in error.errors(include_url=False, include_input=True)
    ]
    unique = {(item.code, item.line, item.column): item for item in reversed(found)}
    return sorted(unique.values(), key=lambda item: (item.line, item.column, item.code))


def _one(detail: ErrorDetails, root: Node, shape: type[BaseModel], path: str) -> Finding:
    kind, loc = detail["type"], detail["loc"]
    context: dict[str, Any] = detail.get("ctx") or {}
    at_key = kind in ("extra_forbidden", "missing") or kind == "DA029"
    place = locate(root, loc, key=at_key)
    code, message, hint = _describe(kind, loc, detail["input"], context, shape)
    return finding(code, message, path, place, hint)


def _describe(
    kind: str, loc: Loc, value: object, context: dict[str, Any], shape: type[BaseModel]
) -> tuple[str, str, str]:
    name = field_name(loc)
    if kind.startswith("DA"):
        return (
            kind,
            f"{name}: {context['message']}" if name else context["message"],
            context["hint"],
        )
    if kind == "missing":
        return _missing(loc)
    if kind == "extra_forbidden":
        return _unknown_key(loc, shape)
    if kind in ("enum", "literal_error"):
        return _unknown_word(name, value, _QUOTED.findall(str(context.get("expected", ""))))
    if kind in _EXPECTED:
        return _wrong_type(name, _EXPECTED[kind], value)
    if kind in _RANGES:
        key, words = _RANGES[kind]
        return "DA027", f"{name} must be {words} {context[key]}, not {value}", ""
    if kind == "too_short":
        return "DA033", f"{name} is empty", "add an item, or remove the key"
    return "DA024", f"{name} is not acceptable here", "see docs/policy-reference.md"


def field_name(loc: Loc) -> str:
    """`spec.schemes[0].quota.size` from a location; union tags are left out."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part.startswith("("):
            text += f".{part}" if text else part
    return text


def _missing(loc: Loc) -> tuple[str, str, str]:
    key, parent = loc[-1], field_name(loc[:-1])
    if loc == ("apiVersion",):
        return "DA020", "apiVersion is missing", "write apiVersion: damos-agent/v1"
    where = f" in {parent}" if parent else ""
    return "DA023", f"`{key}` is required{where}", f"add {key}:"


def _unknown_key(loc: Loc, shape: type[BaseModel]) -> tuple[str, str, str]:
    key, parent = str(loc[-1]), field_name(loc[:-1])
    known = keys_at(shape, loc[:-1])
    where = f" in {parent}" if parent else ""
    close = near(key, known)
    if close:
        hint = f"did you mean {close}?"
    elif elsewhere := homes_of(shape).get(key):
        hint = f"{key} belongs in {elsewhere}: check the indentation"
    else:
        hint = "known here: " + ", ".join(known)
    return "DA022", f"unknown key `{key[:70]}`{where}", hint


def _unknown_word(name: str, value: object, known: list[str]) -> tuple[str, str, str]:
    if name == "apiVersion":
        return "DA020", f"unknown apiVersion {value!r}"[:100], "write damos-agent/v1"
    if name == "kind":
        return "DA021", f"unknown kind {value!r}"[:100], "write " + " or ".join(known)
    if not isinstance(value, str):
        return _wrong_type(name, "one of " + ", ".join(known), value)
    close = near(value, known)
    hint = f"did you mean {close}?" if close else "one of " + ", ".join(known)
    return "DA025", f"{name}: unknown word {value[:70]!r}", hint


def _wrong_type(name: str, expected: str, value: object) -> tuple[str, str, str]:
    hint = ""
    if expected == "text" and isinstance(value, (int, bool)):
        hint = f'write "{str(value).lower() if isinstance(value, bool) else value}" in quotes'
    elif expected == "a whole number" and isinstance(value, str) and value.isdigit():
        hint = "remove the quotes"
    elif expected == "a list" and isinstance(value, dict):
        hint = "put `- ` before the first key"
    what = name or "the document"
    return "DA024", f"{what} must be {expected}, not {kind_of(value)}", hint


def near(word: str, known: list[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    folded = word.lower().replace("-", "_")
    matches = difflib.get_close_matches(folded, known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def options_of(kind: Any) -> list[Any]:
    """A type without its Annotated and Union wrappers: the alternatives."""
    origin = get_origin(kind)
    if origin is Annotated:
        return options_of(get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return [option for part in get_args(kind) for option in options_of(part)]
    return [kind]


def _step(kinds: list[Any], part: str | int) -> list[Any]:
    following: list[Any] = []
    for kind in kinds:
        if isinstance(part, int) and get_origin(kind) is list:
            following += options_of(get_args(kind)[0])
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, field in kind.model_fields.items():
                if (field.alias or name) == part:
                    following += options_of(field.annotation)
    return following or kinds  # a union's tag is no step


def keys_at(shape: type[BaseModel], loc: Loc) -> list[str]:
    """The keys that a document of `shape` may have at `loc`."""
    kinds: list[Any] = [shape]
    for part in loc:
        kinds = _step(kinds, part)
    return [
        field.alias or name
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name, field in kind.model_fields.items()
    ]


def homes_of(shape: type[BaseModel]) -> dict[str, str]:
    """Every key of the language and the mapping it belongs to; the outermost home wins."""
    homes: dict[str, str] = {}
    queue: list[tuple[Any, str]] = [(shape, "")]
    seen: set[Any] = set()
    while queue:
        kind, path = queue.pop(0)
        if get_origin(kind) is list:
            queue += [(item, path + "[]") for item in options_of(get_args(kind)[0])]
        elif isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
            seen.add(kind)
            for name, field in kind.model_fields.items():
                key = field.alias or name
                homes.setdefault(key, path or "the top level")
                inner = f"{path}.{key}" if path else key
                queue += [(option, inner) for option in options_of(field.annotation)]
    return homes
