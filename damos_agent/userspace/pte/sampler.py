"""Watching pages of one process by their young bits."""

from __future__ import annotations

from collections.abc import Sequence

from damos_agent.host.folio import COMPOUND_HEAD, COMPOUND_TAIL, LRU, PageFlags
from damos_agent.host.procmap import mapping_at
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.pte import cold, entry
from damos_agent.userspace.pte.reader import Reader
from damos_agent.userspace.subject import Subject
from damos_agent.userspace.young import Young, runs

_Range = tuple[int, int]


class PteSampler:
    """See `PageSampler`. Owns its subject; the reader and the flags belong to the probe."""

    def __init__(self, subject: Subject, reader: Reader, flags: PageFlags) -> None:
        self._subject = subject
        self._reader = reader
        self._flags = flags
        self._addresses: tuple[int, ...] = ()
        self._entries: list[int] = []
        self._settled: dict[int, bool | None] = {}

    def arm(self, addresses: Sequence[int]) -> None:
        """See `PageSampler`. Only young pages are touched: the others need no clearing."""
        self._addresses, self._entries, self._settled = (), [], {}
        self._check_same_memory()
        entries = self._read(addresses)
        self._addresses, self._entries = tuple(addresses), entries
        young = entry.young_indexes(entries)
        if young:
            self._clear(young)

    def check(self) -> list[bool | None]:
        """See `PageSampler`."""
        found = entry.tell_all(self._entries, self._read(self._addresses), self._addresses)
        for index, told in self._settled.items():
            found[index] = told
        return found

    def take_young(self, where: AddressRange) -> list[Young]:
        """See `PageSampler`. What cannot be cleared may be young for ever: it cannot be told."""
        self._check_same_memory()
        addresses = range(where.start, where.end, entry.PAGE_BYTES)
        areas: dict[int, _Range | None] = {}
        told: dict[_Range | None, bool | None] = {None: None}
        for address, item in zip(addresses, self._read(addresses), strict=True):
            if entry.is_resident(item) or entry.is_unknown(item):
                areas[address] = area = self._whole_page(address, item)
                if area is not None and area not in told:
                    told[area] = self._is_area_young(area, item)
        young = sorted(area for area, was in told.items() if area is not None and was)
        for place in cold.clear(self._subject.pidfd, young):
            told[young[place]] = None
        return runs((address, told[area]) for address, area in areas.items())

    def close(self) -> None:
        """See `PageSampler`."""
        self._subject.close()

    def _read(self, addresses: Sequence[int]) -> list[int]:
        return self._reader.read(self._subject.pagemap.fileno(), addresses)

    def _check_same_memory(self) -> None:
        """The pagemap stays with the memory it was opened for, process_madvise goes by process.

        What the process has now is the same only if both are one in the kernel: after an exec the
        old memory may live on in a parent that called vfork.
        """
        with self._subject.open_pagemap() as now:
            ours = self._reader.identity(self._subject.pagemap.fileno())
            if not ours or ours != self._reader.identity(now.fileno()):
                raise ProcessLookupError("the process has gone, or runs another program")

    def _clear(self, young: list[int]) -> None:
        """Clear the bits of these samples, and settle those of which that cannot be proved."""
        by_range: dict[_Range, list[int]] = {}
        for index in young:
            area = self._whole_page(self._addresses[index], self._entries[index])
            if area is None:
                self._settled[index] = None
            else:
                by_range.setdefault(area, []).append(index)
        ranges = sorted(by_range)
        for place in cold.clear(self._subject.pidfd, ranges):
            self._settled.update(dict.fromkeys(by_range[ranges[place]]))
        self._confirm([index for index in young if index not in self._settled])

    def _confirm(self, cleared: list[int]) -> None:
        """A bit that is set again at once was not cleared, or the page is a very hot one."""
        addresses = [self._addresses[index] for index in cleared]
        before = [self._entries[index] for index in cleared]
        again = entry.tell_all(before, self._read(addresses), addresses)
        for index, young in zip(cleared, again, strict=True):
            if young is None:
                self._settled[index] = None
            elif young:
                self._settled[index] = True if self._is_clearable(index) else None

    def _is_area_young(self, area: _Range, item: int) -> bool | None:
        """Whether any page of a folio is young; None where others may have accessed it unseen.

        `item`: the entry of any page of it.
        """
        start, size = area
        if not self._can_clear(entry.frame(item, start)):
            return None
        if size == entry.PAGE_BYTES or entry.is_huge(item):
            return entry.is_young(item)
        items = self._read(range(start, start + size, entry.PAGE_BYTES))
        return bool(entry.young_indexes(items))

    def _is_clearable(self, index: int) -> bool:
        return self._can_clear(entry.frame(self._entries[index], self._addresses[index]))

    def _can_clear(self, pfn: int | None) -> bool:
        """Whether the kernel clears the bit of this page: mapped once, and on an LRU list."""
        if pfn is None:
            return False
        if self._flags.mappings(pfn) != 1:
            return False
        flags = self._flags.flags(pfn)
        if flags & COMPOUND_TAIL:
            flags = self._flags.flags(self._flags.head(pfn))
        return bool(flags & LRU)

    def _whole_page(self, address: int, item: int) -> _Range | None:
        """What to name so that the kernel splits nothing; None for what would be split."""
        small = entry.small_frame(item)
        if small is not None and not self._flags.flags(small) & (COMPOUND_HEAD | COMPOUND_TAIL):
            return address & -entry.PAGE_BYTES, entry.PAGE_BYTES
        if entry.is_huge(item):
            return address & -entry.HUGE_BYTES, entry.HUGE_BYTES
        start = address & -entry.PAGE_BYTES
        pfn = entry.frame(item, address)
        if pfn is None:
            return None
        head = self._flags.head(pfn)
        size = self._flags.pages(head) * entry.PAGE_BYTES
        if size == entry.PAGE_BYTES:
            return start, size
        start -= (pfn - head) * entry.PAGE_BYTES
        return (start, size) if self._maps_whole(start, size, head) else None

    def _maps_whole(self, start: int, size: int, head: int) -> bool:
        """Whether the folio is mapped there in one piece, by one mapping."""
        mapping = mapping_at(self._subject.open_maps(), max(start, 0))
        if mapping is None or start < mapping.start or mapping.end < start + size:
            return False
        addresses = range(start, start + size, entry.PAGE_BYTES)
        found = self._read(addresses)
        frames = (entry.frame(item, at) for item, at in zip(found, addresses, strict=True))
        return all(pfn == head + number for number, pfn in enumerate(frames))
