"""What page table entries of x86-64 say."""

from __future__ import annotations

import pytest

from damos_agent.userspace.pte import entry
from damos_agent.userspace.pte.layout import FAULT, LEVEL_SHIFT

PRESENT, ACCESSED, LEAF, PROT_NONE, NX = 1, 1 << 5, 1 << 7, 1 << 8, 1 << 63
PTE, PMD, PUD = (level << LEVEL_SHIFT for level in (1, 2, 3))
AT = 0x7F12_3456_7008
PHYSICAL = 0x1_2345_6000


@pytest.mark.parametrize("cached", [0, LEAF], ids=["", "with the PAT bit"])
def test_a_page_is_resident_and_young(cached: int) -> None:
    item = PTE | PHYSICAL | PRESENT | ACCESSED | NX | cached
    assert entry.is_resident(item)
    assert entry.is_young(item)
    assert not entry.is_huge(item)
    assert not entry.is_young(item & ~ACCESSED)
    assert entry.frame(item, AT) == PHYSICAL >> 12


def test_only_a_small_page_that_is_present_has_a_small_frame() -> None:
    """All others take the long way."""
    small = PTE | PHYSICAL | PRESENT | ACCESSED | NX | LEAF
    assert entry.small_frame(small) == entry.frame(small, AT)
    others = (
        PTE | PHYSICAL | PROT_NONE,
        PTE | PHYSICAL,
        PMD | PHYSICAL | LEAF | PRESENT,
        FAULT << LEVEL_SHIFT | PRESENT,
    )
    assert [entry.small_frame(item) for item in others] == [None] * 4


def test_a_huge_page_knows_the_frame_behind_an_address() -> None:
    item = PMD | 0x4000_0000 | LEAF | PRESENT | ACCESSED | 1 << 12  # the PAT bit of huge pages
    assert entry.is_huge(item)
    assert entry.is_young(item)
    assert entry.frame(item, AT) == 0x4_0000 + (AT >> 12) % 512


def test_a_huge_page_that_is_being_split_stays_resident() -> None:
    assert entry.is_resident(PMD | 0x4000_0000 | LEAF | ACCESSED)


@pytest.mark.parametrize("kind", [PTE, PMD | LEAF], ids=["page", "huge page"])
def test_without_leave_to_access_it_is_resident_with_its_address_inverted(kind: int) -> None:
    inverted = ~0x4000_0000 & 0x000F_FFFF_FFFF_F000
    item = kind | inverted | PROT_NONE | ACCESSED
    assert entry.is_resident(item)
    assert entry.is_young(item)
    found = entry.frame(item, AT)
    assert found == 0x4_0000 + ((AT >> 12) % 512 if entry.is_huge(item) else 0)


@pytest.mark.parametrize("item", [0, 0x3FFF_FFFF_FE00, 1 << 9, 0x1234_0000_0000_0022 & ~(7 << 52)])
@pytest.mark.parametrize("kind", [PTE, PMD, PUD], ids=["PTE", "PMD", "PUD"])
def test_swap_and_migration_entries_are_not_resident(item: int, kind: int) -> None:
    item |= kind
    assert not entry.is_resident(item)
    assert not entry.is_young(item)
    assert entry.frame(item, AT) is None
    assert not entry.is_unknown(item)


def test_nothing_is_said_of_gigantic_pages_and_failures() -> None:
    for item in (PUD | LEAF | PRESENT | ACCESSED, FAULT << LEVEL_SHIFT | PRESENT | ACCESSED):
        assert entry.is_unknown(item)
        assert not entry.is_resident(item)
        assert not entry.is_young(item)


HUGE_PAGE = PMD | 0x4000_0000 | LEAF | PRESENT
SAMPLES = [
    (PTE | PHYSICAL | PRESENT, PTE | PHYSICAL | PRESENT | ACCESSED, True),
    (PTE | PHYSICAL | PRESENT, PTE | PHYSICAL | PRESENT | 1 << 6, False),
    (PTE | PHYSICAL | PRESENT, PTE | PHYSICAL + 4096 | PRESENT | ACCESSED, None),
    (PTE | PHYSICAL | PRESENT, PTE, False),
    (PTE, PTE | PHYSICAL | PRESENT | ACCESSED, True),
    (0, FAULT << LEVEL_SHIFT, None),
    (FAULT << LEVEL_SHIFT | PRESENT, FAULT << LEVEL_SHIFT | PRESENT, None),
    (HUGE_PAGE, HUGE_PAGE | ACCESSED, True),
    (HUGE_PAGE, HUGE_PAGE, False),
    (PUD | LEAF | PRESENT, PUD | LEAF | PRESENT | ACCESSED, None),
    (HUGE_PAGE, PTE | 0x4000_0000 + (AT & 0x1FF000) | PRESENT | ACCESSED, True),  # split in place
    (HUGE_PAGE, PTE | PHYSICAL | PRESENT | ACCESSED, None),
    (PTE | PHYSICAL | PRESENT, HUGE_PAGE | ACCESSED, None),  # collapsed, into another page
]


def test_two_readings_tell_of_an_access() -> None:
    before, now, told = zip(*SAMPLES, strict=True)
    assert entry.tell_all(before, now, [AT] * len(SAMPLES)) == list(told)
    assert [entry.tell(old, new, AT) for old, new, _ in SAMPLES] == list(told)


def test_the_young_ones_are_found() -> None:
    items = [PTE | PRESENT, PTE | PRESENT | ACCESSED, PTE | ACCESSED, HUGE_PAGE | ACCESSED]
    assert entry.young_indexes(items) == [1, 3]
