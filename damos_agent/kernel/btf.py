"""DAMON's names out of the kernel's own type information (BTF). Pure.

`/sys/kernel/btf/vmlinux` lists every enumerator, structure member and function by name: a complete
capability list that costs no privilege and has no side effect. Layout: include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from damos_agent.model.errors import HostError

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_U32 = struct.Struct("<I")

_INT, _ARRAY, _STRUCT, _UNION, _ENUM = 1, 3, 4, 5, 6
_FUNC, _FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _ENUM64 = 12, 13, 14, 15, 17, 19
_FIXED_EXTRA = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_ITEM_SIZE = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _ENUM64: 12, _FUNC_PROTO: 8, _DATASEC: 12}
_NAMED_ITEMS = {_STRUCT, _UNION, _ENUM, _ENUM64}


@dataclass(frozen=True, slots=True)
class DamonNames:
    """Enumerators, `struct.member` names, structs and functions that speak of DAMON."""

    enumerators: frozenset[str]
    members: frozenset[str]
    structs: frozenset[str]
    functions: frozenset[str]


def parse_damon(data: bytes) -> DamonNames:
    """Every DAMON name in a raw BTF blob. Raises `HostError` when it is not BTF."""
    if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
        raise HostError("not little-endian BTF", hint="feature detection goes by version instead")
    _, _, _, header, types, types_size, strings, _ = _HEADER.unpack_from(data)
    text = header + strings
    enumerators: set[str] = set()
    members: set[str] = set()
    structs: set[str] = set()
    functions: set[str] = set()
    for kind, name, items in _walk(data, header + types, header + types + types_size):
        if kind in (_ENUM, _ENUM64):
            first = _string(data, text, items[0]) if items else ""
            if first.startswith("DAMO"):
                enumerators.update(_string(data, text, item) for item in items)
        elif kind in (_STRUCT, _UNION):
            own = _string(data, text, name)
            if own.startswith("damo"):
                structs.add(own)
                members.update(f"{own}.{_string(data, text, item)}" for item in items)
        elif kind == _FUNC:
            own = _string(data, text, name)
            if own.startswith("damo"):
                functions.add(own)
    return DamonNames(
        frozenset(enumerators), frozenset(members), frozenset(structs), frozenset(functions)
    )


def _walk(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(kind, name offset, name offsets of the items) of every type."""
    offset = start
    while offset < end:
        name, info, _ = _TYPE.unpack_from(data, offset)
        offset += _TYPE.size
        kind, count = (info >> 24) & 0x1F, info & 0xFFFF
        items: tuple[int, ...] = ()
        size = _ITEM_SIZE.get(kind)
        if size is None:
            offset += _FIXED_EXTRA.get(kind, 0)
        else:
            if kind in _NAMED_ITEMS:
                places = range(offset, offset + count * size, size)
                items = tuple(_U32.unpack_from(data, place)[0] for place in places)
            offset += count * size
        if kind in _NAMED_ITEMS or kind == _FUNC:
            yield kind, name, items


def _string(data: bytes, text: int, offset: int) -> str:
    start = text + offset
    return data[start : data.index(b"\0", start)].decode("ascii", "replace")
