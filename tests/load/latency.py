# SPDX-License-Identifier: Apache-2.0
"""How long a small mmap, with its first touch, and its munmap take while others hold our lock.

Interpreter locks are not measured: clock and calls are chained in C, which keeps the lock all the
time. So touching stands still as long as a slow call takes; take slow-downs from runs without.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from operator import call

from tests.load import libc

_BYTES = 64 << 10
_CLOCK = time.perf_counter_ns


def once_us() -> float:
    """One mmap of 16 pages, all touched, and its munmap."""
    began, address, mapped = map(call, (_CLOCK, partial(libc.map_resident, _BYTES), _CLOCK))
    start, _, end = map(call, (_CLOCK, partial(libc.unmap, address, _BYTES), _CLOCK))
    return (mapped - began + end - start) / 1000  # type: ignore[operator]


class LatencyProbe:
    """A thread that tries it every `pause_s`."""

    def __init__(self, pause_s: float = 0.01) -> None:
        self._pause_s = pause_s
        self._taken: list[float] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._taken.append(once_us())
            time.sleep(self._pause_s)

    def take(self) -> list[float]:
        """The latencies in µs since the last call."""
        taken, self._taken = self._taken, []
        return taken
