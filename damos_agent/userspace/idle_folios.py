"""Folios asked by the idle page bitmap whether they were accessed since they were last marked."""

from __future__ import annotations

from dataclasses import dataclass, field

from damos_agent.host.folio import COMPOUND_HEAD, COMPOUND_TAIL, IDLE, LOCKED, LRU, PageFlags
from damos_agent.host.idle_bitmap import IdleBitmap


def read_idle(bitmap: IdleBitmap, flags: PageFlags, head: int) -> bool | None:
    """Whether the folio is idle still; None where the kernel did not look.

    What is locked or off the LRU lists just now is passed over, and keeps its mark: a locked
    folio reads idle, and one off the lists accessed, whatever has happened.
    """
    idle = bitmap.is_idle(head)
    now = flags.flags(head)
    if idle != bool(now & IDLE) or (idle and now & LOCKED):
        return None
    return idle


@dataclass(slots=True)
class IdleFolios:
    """Each folio is asked once: all its pages get one answer. 3-5 system calls a folio."""

    bitmap: IdleBitmap
    flags: PageFlags
    _folio: range = range(0)
    _told: dict[int, bool | None] = field(default_factory=dict)

    def take_young(self, pfn: int) -> bool | None:
        """Whether the folio of this page is young, and no longer so; None: it cannot be told.

        As DAMON has it: what was never marked idle is young, what is found young is marked, and
        the kernel keeps what reclaim wants to know of it.
        """
        head = self._head(pfn)
        if head not in self._told:
            self._told[head] = self._take(head)
        return self._told[head]

    def _head(self, pfn: int) -> int:
        if pfn in self._folio:
            return self._folio.start
        if not self.flags.flags(pfn) & (COMPOUND_HEAD | COMPOUND_TAIL):
            return pfn
        head = self.flags.head(pfn)
        self._folio = range(head, head + self.flags.pages(head))
        return head

    def _take(self, head: int) -> bool | None:
        if not self.flags.flags(head) & LRU:
            return None  # it can be neither marked nor asked
        idle = read_idle(self.bitmap, self.flags, head)
        if idle is None:
            return None
        if not idle:
            self.bitmap.set(head)
        return not idle
