"""Regular expressions over command lines, which any user of the machine may have made up."""

from __future__ import annotations

import re
import signal
import threading
from types import FrameType
from typing import Final

SEARCH_SECONDS: Final = 0.05
"""CPU time one search may take."""

PATTERN_SECONDS: Final = 0.2
"""CPU time all searches that are given up may cost one pattern in one round."""


class _OutOfTimeError(Exception):
    """Raised by the timer inside a search."""


class PatternSearch:
    """Searches with a memory and an end.

    An answer is kept while the same question is asked in every round. A search that backtracks
    for longer than `SEARCH_SECONDS` is given up and counts as no match; a pattern that used up
    `PATTERN_SECONDS` on such is not tried on new texts until the next round. The bound is a timer
    on CPU time (ITIMER_VIRTUAL, its handler put back after use), which Python's matcher heeds only
    in the main thread: elsewhere searches are not bounded.
    """

    def __init__(self) -> None:
        self._compiled: dict[str, re.Pattern[str]] = {}
        self._kept: dict[tuple[str, str], bool] = {}
        self._asked: dict[tuple[str, str], bool] = {}
        self._given_up: dict[str, int] = {}

    def begin_round(self) -> None:
        """Forget answers that nobody asked for in the last round."""
        self._kept, self._asked = self._asked, {}
        patterns = {pattern for pattern, _ in self._kept}
        self._compiled = {p: c for p, c in self._compiled.items() if p in patterns}
        self._given_up = {}

    def given_up(self, pattern: str) -> int:
        """How many texts of this round were not searched to the end."""
        return self._given_up.get(pattern, 0)

    def search(self, pattern: str, text: str) -> bool:
        """Whether `pattern` occurs in `text`. `re.error` for what is no regular expression."""
        key = (pattern, text)
        answer = self._asked.get(key, self._kept.get(key))
        if answer is None:
            # Checked before searching: what was never tried must be asked again next round.
            exhausted = self.given_up(pattern) * SEARCH_SECONDS >= PATTERN_SECONDS
            answer = None if exhausted else self._search(pattern, text)
            if answer is None:
                self._given_up[pattern] = self.given_up(pattern) + 1
            if exhausted:
                return False
        self._asked[key] = bool(answer)
        return bool(answer)

    def _search(self, pattern: str, text: str) -> bool | None:
        compiled = self._compiled.get(pattern)
        if compiled is None:
            compiled = self._compiled[pattern] = re.compile(pattern)
        if threading.current_thread() is not threading.main_thread():
            return compiled.search(text) is not None
        return _bounded(compiled, text)


def _bounded(compiled: re.Pattern[str], text: str) -> bool | None:
    """The answer, or None when it took too long."""
    armed = True

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        if armed:
            raise _OutOfTimeError

    before = signal.signal(signal.SIGVTALRM, give_up)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, SEARCH_SECONDS)
        found = compiled.search(text) is not None
        armed = False  # a timer that fires from here on is late, and harmless
    except _OutOfTimeError:
        return None
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return found
