"""What the main loop counts of itself, independent of how it is exported."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Upper bounds of the reconcile duration histogram, seconds; one more bucket is open."""


@dataclass(slots=True)
class Meters:
    """Durations of reconcile rounds, and failures by the class of their error (a closed set)."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)

    def reconciled(self, seconds: float) -> None:
        """One round took `seconds`."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def failed(self, error: BaseException) -> None:
        """One round, or one slot of it, failed with `error`."""
        reason = type(error).__name__
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus buckets: (`le`, rounds that took at most that long)."""
        bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
        sums = [float(sum(self.counts[: index + 1])) for index in range(len(self.counts))]
        return list(zip(bounds, sums, strict=True))
