"""What the monitor knows of one piece of address space: `struct damon_region`, in Python.

Mutable on purpose: a sampling tick counts an access in up to a thousand of them, and replacing
them would cost more than the sampling. Only the sampling loop, and the rules of `algo` that it
calls, ever change one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Region:
    """[start, end) in bytes, multiples of the smallest region size.

    `nr_accesses`: sampling checks of the current window that found an access;
    `last_nr_accesses`: of the window before; `age`: windows for which that has hardly changed.
    `unknown`: checks of the current window that could tell nothing; they count as no access
    for nr_accesses, and forbid to take the region for idle. `last_unknown`: of the window before.
    """

    start: int
    end: int
    nr_accesses: int = 0
    last_nr_accesses: int = 0
    age: int = 0
    unknown: int = 0
    last_unknown: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start
