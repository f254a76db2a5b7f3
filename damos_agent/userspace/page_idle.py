"""The probe `page_idle`: the kernel's idle page tracking, one bit per page frame.

Marking a frame idle clears the young bits of all its mappings, also those of KVM guests; the kernel
keeps what reclaim wants to know of them. A sample is one marked frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from damos_agent.host import pagemap
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.folio import COMPOUND_TAIL, IDLE, LOCKED, PageFlags
from damos_agent.host.idle_bitmap import IdleBitmap
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.idle_folios import IdleFolios, read_idle
from damos_agent.userspace.probe import Granularity, PageSampler, ProbeInfo
from damos_agent.userspace.subject import Subject
from damos_agent.userspace.young import Young, runs

INFO: Final = ProbeInfo(
    name="page_idle",
    granularity=Granularity.PAGE,
    sees="rw",
    limits=(
        "misses accesses whose translation stays in the TLB, and those that other tools or "
        "reclaim's own aging see first; about 10 µs per sample"
    ),
)


@dataclass(frozen=True, slots=True)
class _Armed:
    """A sample: the frame behind the address (None: not in memory), its folio's head.

    `taken`: whether the kernel has marked the folio.
    """

    address: int
    pfn: int | None
    head: int = 0
    taken: bool = False


class PageIdleSampler:
    """See `PageSampler`. Owns its subject; the files belong to the probe."""

    def __init__(self, subject: Subject, bitmap: IdleBitmap, flags: PageFlags) -> None:
        self._subject = subject
        self._bitmap = bitmap
        self._flags = flags
        self._armed: list[_Armed] = []

    def arm(self, addresses: Sequence[int]) -> None:
        """See `PageSampler`."""
        self._armed = []
        self._subject.check_same_program()
        entries = self._subject.pagemap.entries(addresses)
        self._armed = [self._mark(at, item) for at, item in zip(addresses, entries, strict=True)]

    def check(self) -> list[bool | None]:
        """See `PageSampler`."""
        entries = self._subject.pagemap.entries([sample.address for sample in self._armed])
        return [
            self._tell(sample, pagemap.frame(item))
            for sample, item in zip(self._armed, entries, strict=True)
        ]

    def take_young(self, where: AddressRange) -> list[Young]:
        """See `PageSampler`. What moved while it was asked cannot be told."""
        before = self._frames(where)
        folios = IdleFolios(self._bitmap, self._flags)
        told = [None if pfn is None else folios.take_young(pfn) for pfn in before]
        after = self._frames(where)
        return runs(
            (where.start + number * pagemap.PAGE_BYTES, young if new == old else None)
            for number, (old, young, new) in enumerate(zip(before, told, after, strict=False))
            if old is not None
        )

    def close(self) -> None:
        """See `PageSampler`."""
        self._subject.close()

    def _frames(self, where: AddressRange) -> list[int | None]:
        entries = self._subject.pagemap.range_entries(where.start, where.end)
        return [_frame(item) for item in entries]

    def _mark(self, address: int, item: int) -> _Armed:
        pfn = _frame(item)
        if pfn is None:
            return _Armed(address, None)
        # Idle bits of tails cannot be set, and so always read as accessed.
        head = self._flags.head(pfn)
        self._bitmap.set(head)
        # This flag is the mark itself: it stays set when the page is accessed right away. Of a
        # locked folio the kernel sets it without forgetting past accesses.
        return _Armed(address, pfn, head, self._flags.flags(head) & (IDLE | LOCKED) == IDLE)

    def _tell(self, sample: _Armed, pfn: int | None) -> bool | None:
        if pfn is None:
            return False
        if sample.pfn is None:
            return True  # it was brought in since
        if not sample.taken or pfn != sample.pfn:
            return None
        if pfn != sample.head and not self._flags.flags(pfn) & COMPOUND_TAIL:
            return None  # the folio was split: its head is another page's now
        idle = read_idle(self._bitmap, self._flags, sample.head)
        return None if idle is None else not idle


def _frame(item: int) -> int | None:
    """The page frame of a pagemap entry, None if not in memory. `HostError` where none is shown."""
    pfn = pagemap.frame(item)
    if pfn == 0:
        raise HostError("page frame numbers are hidden", hint="run as root, or with CAP_SYS_ADMIN")
    return pfn


class PageIdleProbe:
    """See `PageProbe`. `UnsupportedError` without the feature, `HostError` without privileges."""

    def __init__(self, fs: Filesystem, roots: Roots) -> None:
        self._fs, self._roots = fs, roots
        with ExitStack() as stack:
            self._bitmap = IdleBitmap(roots)
            stack.callback(self._bitmap.close)
            self._flags = PageFlags(roots)
            stack.callback(self._flags.close)
            self._opened = stack.pop_all()

    @property
    def info(self) -> ProbeInfo:
        """See `PageProbe`."""
        return INFO

    def open(self, process: Placement) -> PageSampler:
        """See `PageProbe`."""
        with ExitStack() as stack:
            subject = Subject(self._fs, self._roots, process)
            stack.callback(subject.close)
            sampler = PageIdleSampler(subject, self._bitmap, self._flags)
            stack.pop_all()
            return sampler

    def close(self) -> None:
        """See `PageProbe`."""
        self._opened.close()
