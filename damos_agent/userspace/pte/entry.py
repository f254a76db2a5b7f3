"""Reading page table entries of x86-64 as the program tells them (arch/x86/include/asm/pgtable).

An entry is *resident* when it maps memory, also without leave to access it (PROT_NONE, NUMA hints);
entries of swapped out or migrating pages are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from damos_agent.userspace.pte.layout import FAULT, LEVEL_SHIFT

PAGE_BYTES: Final = 4096
HUGE_BYTES: Final = 2 << 20

_PRESENT: Final = 1 << 0
_ACCESSED: Final = 1 << 5
_LEAF: Final = 1 << 7  # in PTEs this bit is about caching
_PROT_NONE: Final = 1 << 8
_ADDRESS: Final = 0x000F_FFFF_FFFF_F000
_HUGE_ADDRESS: Final = _ADDRESS & -HUGE_BYTES
_PTE, _PMD, _PUD = 1, 2, 3
_LEVEL: Final = 7 << LEVEL_SHIFT
_FIXED: Final = _ADDRESS | _LEVEL | _LEAF | _PROT_NONE | _PRESENT
_UP_TO_PMD: Final = _PMD << LEVEL_SHIFT


def level(entry: int) -> int:
    """1 to 5, or `FAULT`."""
    return entry >> LEVEL_SHIFT & 7


def is_unknown(entry: int) -> bool:
    """Whether nothing can be said: it could not be read, or is a leaf of 1 GiB."""
    return level(entry) == FAULT or (level(entry) == _PUD and bool(entry & _LEAF))


def is_huge(entry: int) -> bool:
    """Whether it maps 2 MiB."""
    return level(entry) == _PMD and bool(entry & _LEAF)


def is_resident(entry: int) -> bool:
    """Whether it maps memory, in 4 KiB or 2 MiB."""
    if level(entry) == _PTE:
        return bool(entry & (_PRESENT | _PROT_NONE))
    return is_huge(entry)


def is_young(entry: int) -> bool:
    """Whether that memory was accessed since the bit was cleared."""
    return bool(entry & _ACCESSED) and is_resident(entry)


def frame(entry: int, address: int) -> int | None:
    """The page frame number behind `address`; None when not resident."""
    if not is_resident(entry):
        return None
    # Against L1TF the kernel inverts the address of pages that must not be accessed.
    physical = entry if entry & _PRESENT else ~entry
    if is_huge(entry):
        return (physical & _HUGE_ADDRESS | address & (HUGE_BYTES - 1)) // PAGE_BYTES
    return (physical & _ADDRESS) // PAGE_BYTES


def small_frame(entry: int) -> int | None:
    """The page frame number of a present page of 4 KiB; None of anything else. The usual case."""
    if entry & _PRESENT and entry & _LEVEL == _PTE << LEVEL_SHIFT:
        return (entry & _ADDRESS) // PAGE_BYTES
    return None


def young_indexes(entries: Sequence[int]) -> list[int]:
    """Where in `entries` those are that are young."""
    return [index for index, item in enumerate(entries) if item & _ACCESSED and is_young(item)]


def has_moved(before: int, now: int, address: int) -> bool:
    """Whether another page has come to the address: its bit tells nothing of the old one."""
    was, is_now = frame(before, address), frame(now, address)
    return was is not None and is_now is not None and was != is_now


def tell(before: int, now: int, address: int) -> bool | None:
    """Whether the page was accessed between two readings, the first of them without the bit."""
    if is_unknown(now) or has_moved(before, now, address):
        return None
    return is_young(now)


def tell_all(
    before: Sequence[int], now: Sequence[int], addresses: Sequence[int]
) -> list[bool | None]:
    """`tell` for each; fast for the many pages that are where they were."""
    return [
        bool(new & _ACCESSED)
        if not (old ^ new) & _FIXED and new & _PRESENT and new & _LEVEL <= _UP_TO_PMD
        else tell(old, new, address)
        for old, new, address in zip(before, now, addresses, strict=True)
    ]
