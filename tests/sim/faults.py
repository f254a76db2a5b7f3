"""Fault injection: writers that die, refusals, a lock that is taken."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from tests.sim.errors import Crash, refuse


@dataclass(slots=True)
class Faults:
    """`writes_left`: successful writes before the fault (None: no fault); `code`: its errno or
    None for a crash; `busy`: locked accesses still to be answered with EBUSY."""

    writes_left: int | None = None
    code: int | None = None
    busy: int = 0

    def before_write(self, path: str) -> None:
        """Refuse this write where its time has come; refusing once disarms."""
        if self.writes_left == 0:
            self._strike(path)

    def after_write(self, path: str) -> None:
        """Count a write that took effect; a crash strikes right after the last one."""
        if self.writes_left is None:
            return
        self.writes_left -= 1
        if self.writes_left == 0 and self.code is None:
            self._strike(path)

    def _strike(self, path: str) -> None:
        self.writes_left, code = None, self.code
        if code is None:
            raise Crash(path)
        raise refuse(code, path)

    def take_lock(self, path: str) -> None:
        """EBUSY while somebody else is said to hold the lock."""
        if self.busy:
            self.busy -= 1
            raise refuse(errno.EBUSY, path)
