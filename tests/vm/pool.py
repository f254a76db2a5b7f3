# SPDX-License-Identifier: Apache-2.0
"""Runs the guests of a test session beside each other, a few at a time."""

import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Pool(Generic[Key, Result]):
    """Calls `work`, by key, in the order given. It must end soon once `stopping` is set.

    Its threads live as long as there is work, so that children that end with the thread which
    started them (prctl PR_SET_PDEATHSIG) live as long as it takes.
    """

    def __init__(self, work: Mapping[Key, Callable[[], Result]], stopping: threading.Event) -> None:
        self._futures: dict[Key, Future[Result]] = {key: Future() for key in work}
        self._queue: queue.SimpleQueue[tuple[Key, Callable[[], Result]]] = queue.SimpleQueue()
        for item in work.items():
            self._queue.put(item)
        self._stopping = stopping
        self._threads: list[threading.Thread] = []
        self.seconds: dict[Key, float] = {}

    def grow(self, workers: int) -> None:
        """As many at once from now on, if there are not more already."""
        while len(self._threads) < workers:
            self._threads.append(threading.Thread(target=self._run, daemon=True))
            self._threads[-1].start()

    def result(self, key: Key) -> Result:
        """What came of it, waited for; raises what it raised."""
        return self._futures[key].result()

    def stop(self) -> None:
        """What has not begun will not; returns when the rest has ended."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                key, work = self._queue.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            try:
                self._futures[key].set_result(work())
            except Exception as error:  # noqa: BLE001 - told to whoever asks for the result
                self._futures[key].set_exception(error)
            self.seconds[key] = time.monotonic() - began
