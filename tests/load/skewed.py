# SPDX-License-Identifier: Apache-2.0
"""A layout by lot: few pages that are touched often, scattered among many that are not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from tests.load.layout import PAGE, Range, joined

_HOT_SHARE, _HOT_WEIGHT = 0.2, 0.8


@dataclass(frozen=True, slots=True)
class Skewed:
    """Each phase touches the grains (`grain` bytes each) that `draws` draws hit.

    Grains are weighted by Zipf's law with `exponent`, in an order by lot; with exponent 0, a fifth
    of them gets four fifths of the draws. After `cycle` phases the same draws come again: what
    they missed is never touched.
    """

    total: int
    draws: int
    exponent: float = 0.0
    grain: int = PAGE
    cycle: int = 64
    seed: int = 1
    hold: int = 1

    @property
    def phases(self) -> int:
        return self.cycle

    def at(self, phase: int) -> list[Range]:
        import random  # here, since other layouts start faster without

        order, weights = _order(self)
        lots = random.Random(f"{self.seed}/{phase}")
        ranks = lots.choices(range(len(order)), cum_weights=weights, k=self.draws)
        starts = {order[rank] * self.grain for rank in ranks}
        return joined([(start, start + self.grain) for start in starts])

    def cuts(self) -> set[int]:
        return set()

    def weights(self) -> list[float]:
        """Those of the grains in the order of their ranks."""
        count = self.total // self.grain
        if self.exponent:
            return [(rank + 1) ** -self.exponent for rank in range(count)]
        hot = max(1, round(count * _HOT_SHARE))
        ratio = _HOT_WEIGHT / (1 - _HOT_WEIGHT) * (count - hot) / hot
        return [ratio] * hot + [1.0] * (count - hot)


@lru_cache(maxsize=8)
def _order(layout: Skewed) -> tuple[list[int], list[float]]:
    """The grains by rank, and their weights summed up."""
    import random

    weights = layout.weights()
    order = random.Random(layout.seed).sample(range(len(weights)), len(weights))
    return order, list(accumulate(weights))
