"""DAMON's names out of the kernel's own type information (BTF). Pure.

Every enumerator, structure member and function by name: a complete capability list that costs no
privilege and has no side effect.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from damos_agent.host.btf import ENUM, ENUM64, FUNC, ITEM_SIZE, STRUCT, UNION, Btf

_U32 = struct.Struct("<I")
_TYPE_SIZE = 12
_NAMED_ITEMS = {STRUCT, UNION, ENUM, ENUM64}


@dataclass(frozen=True, slots=True)
class DamonNames:
    """Enumerators, `struct.member` names, structs and functions that speak of DAMON."""

    enumerators: frozenset[str]
    members: frozenset[str]
    structs: frozenset[str]
    functions: frozenset[str]


def parse_damon(data: bytes) -> DamonNames:
    """Every DAMON name in a raw BTF blob. Raises `HostError` when it is not BTF."""
    btf = Btf(data)
    enumerators: set[str] = set()
    members: set[str] = set()
    structs: set[str] = set()
    functions: set[str] = set()
    for kind, name, items in _walk(btf):
        if kind in (ENUM, ENUM64):
            first = btf.string(items[0]) if items else ""
            if first.startswith("DAMO"):
                enumerators.update(btf.string(item) for item in items)
        elif kind in (STRUCT, UNION):
            own = btf.string(name)
            if own.startswith("damo"):
                structs.add(own)
                members.update(f"{own}.{btf.string(item)}" for item in items)
        elif kind == FUNC:
            own = btf.string(name)
            if own.startswith("damo"):
                functions.add(own)
    return DamonNames(
        frozenset(enumerators), frozenset(members), frozenset(structs), frozenset(functions)
    )


def _walk(btf: Btf) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(kind, name offset, name offsets of the items) of every type that has a name to tell."""
    for place, name, kind, count in btf.types():
        if kind in _NAMED_ITEMS:
            start, size = place + _TYPE_SIZE, ITEM_SIZE[kind]
            places = range(start, start + count * size, size)
            yield kind, name, tuple(_U32.unpack_from(btf.data, item)[0] for item in places)
        elif kind == FUNC:
            yield kind, name, ()
