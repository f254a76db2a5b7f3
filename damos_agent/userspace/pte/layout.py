"""What the program and its user agree on: the words of the shared map, and the kernel's layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_ADDRESSES: Final = 1024

# 64-bit words of the shared map, before the addresses and, behind those, the entries.
BASE: Final = 0  # in: where the direct map of physical memory begins
LIMIT: Final = 1  # in: physical addresses from here on are not memory
COUNT: Final = 2  # in: how many addresses
FILE: Final = 3  # in: our descriptor of the pagemap
MM: Final = 4  # out: the process's mm_struct, 0 if none
USERS: Final = 5  # out: mm_users; 0 once the memory has no process
PGD: Final = 6  # out: its top page table
ADDRESSES: Final = 7
ENTRIES: Final = ADDRESSES + MAX_ADDRESSES
MAP_BYTES: Final = 8 * (ENTRIES + MAX_ADDRESSES)

LEVEL_SHIFT: Final = 52
"""Bits 52-54, which hardware ignores, tell the level of the entry: 1 PTE, 2 PMD, 3 PUD …"""
FAULT: Final = 7
"""The level of what could not be read."""

OFFSETS: Final = (
    ("task_struct", "files"),
    ("files_struct", "fdt"),
    ("fdtable", "fd"),
    ("file", "private_data"),
    ("mm_struct", "pgd"),
    ("mm_struct", "mm_users"),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Levels of page tables (4 or 5), and offsets of `OFFSETS` in bytes."""

    levels: int
    offsets: dict[tuple[str, str], int]
