"""Which drops of `Referenced` show that somebody else cleared it."""

from __future__ import annotations

from dataclasses import replace

from damos_agent.userspace.foreign import forgotten_bytes, is_foreign_clear
from damos_agent.userspace.probe import MappingUse

MIB = 1 << 20
USE = MappingUse(0, 64 * MIB, 64 * MIB, 32 * MIB, 64 * MIB, 0, 0, 0)


def test_accesses_only_add_up() -> None:
    assert forgotten_bytes([USE], [replace(USE, referenced=40 * MIB)]) == 0
    assert forgotten_bytes([USE], [replace(USE, referenced=8 * MIB)]) == 24 * MIB


def test_what_has_left_memory_explains_a_drop() -> None:
    out = replace(USE, rss=32 * MIB, referenced=2 * MIB)
    assert forgotten_bytes([USE], [out]) == 0


def test_a_mapping_that_changed_is_no_evidence() -> None:
    assert forgotten_bytes([USE], [replace(USE, end=32 * MIB, referenced=0)]) == 0
    assert forgotten_bytes([USE], [replace(USE, name="/new", referenced=0)]) == 0
    assert forgotten_bytes([USE], []) == 0


def test_a_few_pages_are_reclaim_and_not_a_clearing() -> None:
    assert not is_foreign_clear((USE,), (replace(USE, referenced=USE.referenced - 256 * 1024),))
    assert is_foreign_clear((USE,), (replace(USE, referenced=0),))
