"""JSON Schema of a dataclass as `model.codec` encodes it, by its own annotations."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any, get_args, get_origin

Schema = dict[str, object]

_PLAIN: dict[Any, str] = {int: "integer", str: "string", float: "number", bool: "boolean"}


def shape_of(kind: Any) -> Schema:
    """The schema; what the codec refuses to encode raises `TypeError`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _any_of([one for one in inner if one is not type(None)], none=type(None) in inner)
    if origin in (tuple, list, frozenset):
        return {"type": "array", "items": shape_of(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": shape_of(inner[1])}
    if isinstance(kind, type) and is_dataclass(kind):
        return _object(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [one.value for one in kind]}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    raise TypeError(f"{kind} has no schema")


def _any_of(options: list[Any], *, none: bool) -> Schema:
    shapes = [shape_of(one) for one in options]
    if none:
        shapes.append({"type": "null"})
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}


def _object(kind: type) -> Schema:
    hints = typing.get_type_hints(kind)
    required = [
        one.name
        for one in fields(kind)
        if one.default is MISSING and one.default_factory is MISSING
    ]
    return {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "required": ["kind", *required],
        "properties": {
            "kind": {"const": kind.__name__},
            **{one.name: shape_of(hints[one.name]) for one in fields(kind)},
        },
        "additionalProperties": False,
    }
