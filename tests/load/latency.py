# SPDX-License-Identifier: Apache-2.0
"""How long a small mmap, with its first touch, and its munmap take while others hold our lock.

Interpreter locks are not measured: clock and calls are chained in C, which keeps the lock all the
time. So touching stands still as long as a slow call takes; take slow-downs from runs without.
"""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.load import libc

_BYTES = 64 << 10
_CLOCK = time.perf_counter_ns
_call: Callable[[Callable[[], Any]], Any] = operator.call
_MAP = libc.mapper(_BYTES)


def once_us() -> float:
    """One mmap of 16 pages, all touched, and its munmap."""
    address, mapping_ns = _timed(_MAP)
    failed, unmapping_ns = _timed(libc.unmapper(address, _BYTES))
    if failed:
        raise MemoryError(f"no {_BYTES} bytes to be had")
    return (mapping_ns + unmapping_ns) / 1000


def _timed(action: Callable[[], Any]) -> tuple[Any, int]:
    chain: Iterator[Any] = map(_call, (_CLOCK, action, _CLOCK))
    began, found, ended = chain
    return found, ended - began


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
