"""The kernel's own type information (BTF): its types in order, and where members of structures are.

`/sys/kernel/btf/vmlinux` costs no privilege. Layout: include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from damos_agent.model.errors import HostError, UnsupportedError

INT: Final = 1
ARRAY: Final = 3
STRUCT: Final = 4
UNION: Final = 5
ENUM: Final = 6
FUNC: Final = 12
FUNC_PROTO: Final = 13
VAR: Final = 14
DATASEC: Final = 15
DECL_TAG: Final = 17
ENUM64: Final = 19

_MODIFIERS: Final = frozenset({8, 9, 10, 11, 18})  # typedef, volatile, const, restrict, type tag
_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("<HBBIIIII")
_TYPE: Final = struct.Struct("<III")
_FIXED_EXTRA: Final = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
ITEM_SIZE: Final = {STRUCT: 12, UNION: 12, ENUM: 8, ENUM64: 12, FUNC_PROTO: 8, DATASEC: 12}
"""Bytes of each item that follows a type of this kind."""


class Btf:
    """A raw BTF blob. Raises `HostError` when it is none."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != _MAGIC:
            raise HostError("not little-endian BTF", hint="is /sys/kernel/btf/vmlinux damaged?")
        _, _, _, header, types, types_size, strings, _ = _HEADER.unpack_from(data)
        self.data = data
        self._start = header + types
        self._end = header + types + types_size
        self._text = header + strings

    def types(self) -> Iterator[tuple[int, int, int, int]]:
        """(place, name offset, kind, number of items) of every type, in order of their ids."""
        place, data, end = self._start, self.data, self._end
        while place < end:
            name, info, _ = _TYPE.unpack_from(data, place)
            kind, count = (info >> 24) & 0x1F, info & 0xFFFF
            yield place, name, kind, count
            place += _TYPE.size + _FIXED_EXTRA.get(kind, 0) + count * ITEM_SIZE.get(kind, 0)

    def string(self, offset: int) -> str:
        """The string at an offset."""
        start = self._text + offset
        return self.data[start : self.data.index(b"\0", start)].decode("ascii", "replace")


def member_offsets(btf: Btf, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Bytes from the start of each `(structure, member)`, looking into nameless structures.

    `UnsupportedError` names the first that this kernel does not have.
    """
    places = array("I", [0])  # type ids count from 1
    structs: dict[str, int] = {}
    pairs = tuple(wanted)
    names = {struct_name for struct_name, _ in pairs}
    for place, name, kind, _ in btf.types():
        places.append(place)
        if kind == STRUCT and name and (own := btf.string(name)) in names:
            structs.setdefault(own, place)
    found = {}
    for owner, member in pairs:
        offset = _find(btf, places, structs[owner], member) if owner in structs else None
        if offset is None:
            raise UnsupportedError(
                f"this kernel's type information does not tell where {owner}.{member} is",
                hint="use another probe",
            )
        found[owner, member] = offset
    return found


def _find(btf: Btf, places: array[int], place: int, member: str) -> int | None:
    _, info, _ = _TYPE.unpack_from(btf.data, place)
    for item in range(info & 0xFFFF):
        name, kind_id, bits = _TYPE.unpack_from(btf.data, place + _TYPE.size * (1 + item))
        # With the kind flag the upper byte is the width of a bit field.
        offset = (bits & 0xFFFFFF if info >> 31 else bits) // 8
        if name:
            if btf.string(name) == member:
                return int(offset)
            continue
        inner = _nested(btf, places, kind_id)
        below = None if inner is None else _find(btf, places, inner, member)
        if below is not None:
            return int(offset + below)
    return None


def _nested(btf: Btf, places: array[int], kind_id: int) -> int | None:
    while True:
        _, info, target = _TYPE.unpack_from(btf.data, places[kind_id])
        kind = (info >> 24) & 0x1F
        if kind in (STRUCT, UNION):
            return places[kind_id]
        if kind not in _MODIFIERS:
            return None
        kind_id = target


def read_btf(sysfs: str) -> bytes | None:
    """The kernel's BTF blob (several MiB), or None where there is none."""
    try:
        with open(f"{sysfs}/kernel/btf/vmlinux", "rb") as file:
            return file.read()
    except OSError:
        return None
