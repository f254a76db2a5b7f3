"""A machine to steer: pressure that grows with what is taken, late, noisily, from a store of cold
memory. And the laws to be compared, each a function from what a window showed to the next quota.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from damos_agent.algo.feedback import tune_consist, tune_temporal
from damos_agent.algo.steer import Bounds, Steering, begin, steer

MIB = 1 << 20
CAP = 1024 * MIB
SEED = 4 * MIB

Law = Callable[[int | None, int], int]
"""From the score (None: unknown) and the bytes used in a window to the next one's quota."""


@dataclass(slots=True)
class Plant:
    """One window at a time. Taking up to `safe` bytes a window hurts nobody; the score reaches
    10000 at `bearable`.

    `lag`: windows until it shows; `noise_bp`: of the score, either way; `blind`: windows without
    input; `base_bp`: pressure that others make.
    """

    safe: Callable[[int], int] = lambda _: 16 * MIB
    bearable: Callable[[int], int] = lambda _: 64 * MIB
    base_bp: Callable[[int], int] = lambda _: 0
    cold: int = 1 << 50
    lag: int = 0
    noise_bp: int = 0
    blind: range = range(0)
    rng: Random = field(default_factory=lambda: Random(7))
    now: int = 0
    _shown: list[int] = field(default_factory=list)

    def window(self, quota: int) -> tuple[int | None, int]:
        """(score as shown, bytes used)."""
        used = min(quota, self.cold)
        self.cold -= used
        room = max(self.bearable(self.now) - self.safe(self.now), 1)
        excess = max(used - self.safe(self.now), 0)
        true = excess * 10_000 // room + self.base_bp(self.now)
        self._shown.append(max(true + self.rng.randint(-self.noise_bp, self.noise_bp), 0))
        score = self._shown[max(len(self._shown) - 1 - self.lag, 0)]
        shown = None if self.now in self.blind else score
        self.now += 1
        return shown, used

    @property
    def scores(self) -> Sequence[int]:
        """The true ones, of all windows so far."""
        return self._shown


@dataclass(slots=True)
class Run:
    """`quotas` and `scores` of each window."""

    quotas: list[int] = field(default_factory=list)
    scores: list[int] = field(default_factory=list)
    states: list[Steering] = field(default_factory=list)

    def over(self, first: int = 0, above: int = 10_500) -> int:
        """Windows that exceeded the goal."""
        return sum(score > above for score in self.scores[first:])

    def excess(self) -> int:
        """By how much, in whole goals, all windows together."""
        return sum(max(score - 10_000, 0) for score in self.scores) // 10_000

    def settled(self, low: int = 7_000, high: int = 10_500) -> int | None:
        """The window from which on the score stays near the goal; None: never."""
        for first in range(len(self.scores)):
            if all(low <= score <= high for score in self.scores[first:]):
                return first
        return None


def ours(bounds: Bounds, run: Run) -> Law:
    """The agent's."""
    state = begin(bounds)

    def law(score: int | None, used: int) -> int:
        nonlocal state
        if used < 0:
            return state.quota
        state = steer(state, score, used, bounds)
        run.states.append(state)
        return state.quota

    return law


def consist() -> Law:
    """The kernel's default."""
    esz_bp = 0

    def law(score: int | None, used: int) -> int:
        nonlocal esz_bp
        esz_bp = tune_consist(esz_bp, 0 if used < 0 else 10_000 if score is None else score)
        return min(esz_bp // 10_000, CAP)

    return law


def temporal() -> Law:
    """The kernel's other one."""
    return lambda score, used: tune_temporal(CAP, 0 if used < 0 else score or 0) // 10_000


def senpai(current: int) -> Law:
    """Of Facebook's TMO: 0.05 % of what is in use, less the nearer pressure is to the limit.

    Weiner et al., ASPLOS 2022, figure 8; every 6 s there, every window here.
    """
    return lambda score, used: current * 5 * max(10_000 - (score or 0), 0) // 10_000 // 10_000


def play(plant: Plant, law: Law, windows: int, run: Run | None = None) -> Run:
    """That many windows."""
    run = run or Run()
    quota = law(None, -1)
    for _ in range(windows):
        run.quotas.append(quota)
        score, used = plant.window(quota)
        quota = law(score, used)
    run.scores = list(plant.scores)
    return run


def play_ours(plant: Plant, windows: int, lag: int = 0) -> Run:
    """With the bounds that all tests have."""
    run = Run()
    return play(plant, ours(Bounds(0, CAP, SEED, lag), run), windows, run)
