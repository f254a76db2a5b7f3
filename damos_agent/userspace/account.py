"""CPU time of one context: what monitoring has taken, and when its budget allows more. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_LATELY_US: Final = 10_000_000
_SAVED_US: Final = 1_000_000
_BP: Final = 10_000


@dataclass(slots=True)
class Account:
    """`budget_bp` of a core are earned all the time; those of a second can be saved up.

    The governor sets the pace by averages, which lag behind costs that grow: here each µs counts.
    `spent_bp`: what the last ten seconds have taken.
    """

    budget_bp: int
    spent_bp: int = 0
    _saved_us: float = 0.0
    _paid_us: int | None = None
    _lately_ns: int = 0
    _since_us: int = 0

    def spend(self, cpu_ns: int, now_us: int) -> int:
        """So much has been taken. How long to do nothing now, in µs; 0 within the budget."""
        share = max(self.budget_bp, 1) / _BP
        if self._paid_us is None:
            self._paid_us, self._since_us = now_us, now_us
            self._saved_us = _SAVED_US * share
        earned = (now_us - self._paid_us) * share
        self._paid_us = now_us
        self._saved_us = min(self._saved_us + earned, _SAVED_US * share) - cpu_ns / 1_000
        self._remember(cpu_ns, now_us)
        return max(int(-self._saved_us / share), 0)

    def _remember(self, cpu_ns: int, now_us: int) -> None:
        self._lately_ns += cpu_ns
        past_us = now_us - self._since_us
        if past_us >= _LATELY_US:
            self.spent_bp = self._lately_ns * 10 // past_us
            self._lately_ns, self._since_us = 0, now_us
