"""Frozen dataclasses to and from plain JSON data, by their own annotations.

Used between the compiler child and the daemon, for the state file and for `--json`. Unions of
dataclasses carry a `kind`, the class's name; enums travel as their values. Nothing is
coerced: what does not fit raises `TypeError` or `ValueError`, because both ends are ours.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

T = TypeVar("T")
Json = Any

_PLAIN = frozenset({int, str, float, bool, type(None)})
"""Exactly these go as they are; enums that are strings are none of them."""


def encode(value: object) -> Json:
    """Plain dicts, lists, strings, numbers, booleans and None."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Enum):
        return value.value
    names = _names(kind)  # type: ignore[arg-type]  # a class is as good a key as any
    if names is not None:
        body: dict[str, Json] = {"kind": kind.__name__}
        for name in names:
            body[name] = encode(getattr(value, name))
        return body
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [encode(item) for item in items]
    return value


def decode(kind: type[T], data: Json) -> T:
    """The value of type `kind` that `encode` turned into `data`."""
    decoder = _decoder(kind)  # type: ignore[arg-type]  # a class is as good a key as any
    return typing.cast("T", decoder(data))  # it checks the type as it builds


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """Those of a dataclass's fields: to look them up each time takes longer than all the rest."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


Decoder = Callable[[Json], Any]


@cache
def _decoder(kind: Any) -> Decoder:
    """What decodes that type: to take the type apart each time takes longer than all the rest."""
    if kind is Any:
        return lambda data: data
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union_decoder(inner)
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        each = tuple(map(_decoder, inner))
        return lambda data: tuple(one(item) for one, item in zip(each, data, strict=True))
    if origin in (tuple, frozenset, list):
        item_of = _decoder(inner[0])
        return lambda data: origin([item_of(item) for item in data])
    if origin is dict:
        key_of, value_of = _key_decoder(inner[0]), _decoder(inner[1])
        return lambda data: {key_of(key): value_of(item) for key, item in data.items()}
    return _plain_decoder(kind)


def _key_decoder(kind: Any) -> Callable[[str], Any]:
    return int if kind is int else _decoder(kind)


def _union_decoder(options: tuple[Any, ...]) -> Decoder:
    rest = [option for option in options if option is not type(None)]
    optional = len(rest) < len(options)
    if len(rest) == 1:
        only = _decoder(rest[0])
        return lambda data: None if optional and data is None else only(data)
    classes = {one.__name__: one for one in rest if isinstance(one, type) and is_dataclass(one)}
    others = tuple(one for one in rest if isinstance(one, type) and not is_dataclass(one))

    def decode_union(data: Json) -> Any:
        if data is None and optional:
            return None
        if isinstance(data, dict) and data.get("kind") in classes:
            return _decoder(classes[data["kind"]])(data)
        if isinstance(data, others):
            return data
        raise TypeError(f"{data!r} is none of {options}")

    return decode_union


def _plain_decoder(kind: Any) -> Decoder:
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass_decoder(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind

    def check(data: Json) -> Any:
        if kind is float and isinstance(data, int):
            return float(data)
        if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
            raise TypeError(f"expected {kind.__name__}, got {data!r}")
        return data

    return check


def _dataclass_decoder(kind: type) -> Decoder:
    fields_of: dict[str, Decoder] = {}

    def decode_dataclass(data: Json) -> Any:
        if not fields_of:  # late, since a class may hold others of its kind
            fields_of.update({name: _decoder(hint) for name, hint in _hints(kind).items()})
        known = {key: fields_of[key](item) for key, item in data.items() if key in fields_of}
        return kind(**known)

    return decode_dataclass
