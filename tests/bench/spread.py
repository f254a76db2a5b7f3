"""Figures of several runs, and how they are told: median, min-max, number of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """All values of one figure, in `unit`."""

    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        return median(self.values)

    def text(self, digits: int = 1) -> str:
        """`12.3 ms (11.9 to 14.0, n=5)`; without a spread when all values are the same."""
        low, high = min(self.values), max(self.values)
        shown = f"{self.median:.{digits}f} {self.unit}".strip()
        if f"{low:.{digits}f}" == f"{high:.{digits}f}":
            return f"{shown} (n={len(self.values)})"
        return f"{shown} ({low:.{digits}f} to {high:.{digits}f}, n={len(self.values)})"

    def data(self) -> dict[str, object]:
        """For JSON."""
        return {
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
        }


def spread(values: Sequence[float], unit: str) -> Spread:
    """Raises ValueError when nothing was measured: a benchmark never reports what it has not."""
    if not values:
        raise ValueError("nothing measured")
    return Spread(tuple(values), unit)
