"""Offsets of members, out of the running kernel's type information and a small made one."""

from __future__ import annotations

import struct

import pytest

from damos_agent.host.btf import STRUCT, Btf, member_offsets, read_btf
from damos_agent.model.errors import HostError, UnsupportedError

INT, MODIFIER = 1, 10


def blob() -> bytes:
    """`struct outer { int a; const struct { int b; int c; }; }`, with the kind flag unset."""
    strings = b"\0int\0outer\0a\0b\0c\0"
    at = {name: strings.index(f"\0{name}\0".encode()) + 1 for name in ("int", "outer", "a", "b")}
    at["c"] = at["b"] + 2
    types = (
        struct.pack("<IIII", at["int"], INT << 24, 4, 32)
        + struct.pack("<III", 0, STRUCT << 24 | 2, 8)
        + struct.pack("<IIIIII", at["b"], 1, 0, at["c"], 1, 32)
        + struct.pack("<III", 0, MODIFIER << 24, 2)
        + struct.pack("<III", at["outer"], STRUCT << 24 | 2, 12)
        + struct.pack("<IIIIII", at["a"], 1, 0, 0, 3, 32)
    )
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


def test_members_of_nameless_structures_count_from_the_outer_one() -> None:
    wanted = [("outer", "a"), ("outer", "b"), ("outer", "c")]
    assert list(member_offsets(Btf(blob()), wanted).values()) == [0, 4, 8]


@pytest.mark.parametrize("pair", [("outer", "d"), ("other", "a")])
def test_what_is_missing_is_named(pair: tuple[str, str]) -> None:
    with pytest.raises(UnsupportedError, match=r"\.".join(pair)):
        member_offsets(Btf(blob()), [pair])


def test_other_files_are_refused() -> None:
    with pytest.raises(HostError, match="BTF"):
        Btf(b"no type information")


def test_the_running_kernel_tells_where_its_members_are() -> None:
    data = read_btf("/sys")
    if data is None:
        pytest.skip("this kernel has no BTF")
    wanted = [("task_struct", "files"), ("mm_struct", "pgd")]
    assert all(offset > 0 for offset in member_offsets(Btf(data), wanted).values())
