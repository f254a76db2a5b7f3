"""Frozen dataclasses to and from plain JSON data, by their own annotations.

Used between the compiler child and the daemon, for the state file and for `--json`. Unions of
dataclasses carry a `kind`, the class's name; enums travel as their values. Nothing is
coerced: what does not fit raises `TypeError` or `ValueError`, because both ends are ours.
"""

from __future__ import annotations

import types
import typing
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
    return typing.cast("T", _decode(kind, data))  # _decode checks the type as it builds


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """Those of a dataclass's fields: to look them up each time takes longer than all the rest."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, data: Json) -> Any:
    if kind is Any:
        return data
    origin = get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(get_args(kind), data)
    if origin is tuple:
        items = get_args(kind)
        if len(items) == 2 and items[1] is Ellipsis:
            return tuple(_decode(items[0], item) for item in data)
        return tuple(_decode(k, item) for k, item in zip(items, data, strict=True))
    if origin is frozenset:
        return frozenset(_decode(get_args(kind)[0], item) for item in data)
    if origin is list:
        return [_decode(get_args(kind)[0], item) for item in data]
    if origin is dict:
        key_kind, item_kind = get_args(kind)
        return {_decode_key(key_kind, k): _decode(item_kind, v) for k, v in data.items()}
    return _decode_plain(kind, data)


def _decode_key(kind: Any, key: str) -> Any:
    return int(key) if kind is int else _decode(kind, key)


def _decode_union(options: tuple[Any, ...], data: Json) -> Any:
    if data is None and type(None) in options:
        return None
    rest = [option for option in options if option is not type(None)]
    if len(rest) == 1:
        return _decode(rest[0], data)
    for option in rest:
        if not isinstance(option, type):
            continue
        if is_dataclass(option):
            if isinstance(data, dict) and data.get("kind") == option.__name__:
                return _decode(option, data)
        elif isinstance(data, option):
            return data
    raise TypeError(f"{data!r} is none of {options}")


def _decode_plain(kind: Any, data: Json) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        known = {key: _decode(hints[key], item) for key, item in data.items() if key in hints}
        return kind(**known)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if kind is float and isinstance(data, int):
        return float(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise TypeError(f"expected {kind.__name__}, got {data!r}")
    return data
