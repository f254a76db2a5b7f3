# SPDX-License-Identifier: Apache-2.0
"""What each made-up workload touches when. Pure; sizes in MiB, times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple


class Piece(NamedTuple):
    """Part of a memory area."""

    area: str
    start: int
    end: int


Touched = Callable[[float, float], tuple[Piece, ...]]
"""Of the seconds since the start and the seconds in all."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`areas`: sizes by name. `filled`: how much of the area exists at the start, if not all.

    `cold`: what is never touched again once it has gone cold, at the latest by half time.
    """

    areas: Mapping[str, int]
    touched: Touched
    cold: tuple[Piece, ...] = ()
    filled: Mapping[str, int] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    step_s: float = 0.02
    """Memory in use is touched several times in an aggregation of DAMON's default 100 ms, as that
    of a busy process is. Touched twice a second it would look as good as cold, and merge with it.
    """
    steps: int | None = None
    """A fixed number without any pause, in place of one every `step_s`."""
    stride: int = 1024
    """Bytes between reads."""


GROWN: Final = 0.4
"""The share of the time that growth takes."""
_LAP_S: Final = 100.0
_PART_S, _PARTS, _PART_MIB = 5.0, 6, 64
_TIGHT_LAP_S: Final = 30.0
SEED_STEPS: Final = 720


def _always(*pieces: Piece) -> Touched:
    return lambda _at_s, _seconds: pieces


def _cyclic(at_s: float, _seconds: float) -> tuple[Piece, ...]:
    part = int(at_s / _PART_S) % _PARTS
    return (Piece("all", part * _PART_MIB, (part + 1) * _PART_MIB),)


def _growth(at_s: float, seconds: float) -> tuple[Piece, ...]:
    share = min(at_s / (GROWN * seconds), 1.0)
    grown = 32 + round(288 * share)
    return (Piece("heap", 0, 32), Piece("heap", max(grown - 64, 32), grown))


def window(at_s: float, lap_s: float, size: int, width: int) -> tuple[int, int]:
    """The `width` MiB that a scan of `size` in `lap_s` has come to; it never leaves the area."""
    start = int(at_s % lap_s / lap_s * size)
    return start, min(start + width, size)


def _streaming(at_s: float, _seconds: float) -> tuple[Piece, ...]:
    return (Piece("hot", 0, 48), Piece("file", *window(at_s, _LAP_S, 320, 2)))


def _shift(at_s: float, seconds: float) -> tuple[Piece, ...]:
    return Piece("common", 0, 32), Piece("first" if at_s < seconds / 2 else "second", 0, 96)


def _tight(at_s: float, _seconds: float) -> tuple[Piece, ...]:
    return Piece("hot", 0, 32), Piece("ring", *window(at_s, _TIGHT_LAP_S, 96, 2))


def _seed(at_s: float, _seconds: float) -> tuple[Piece, ...]:
    phase = int(at_s) // 60 % 6
    return (Piece("all", phase * 100, (phase + 1) * 100),)


PATTERNS: Final[Mapping[str, Pattern]] = {
    "cyclic": Pattern({"all": _PARTS * _PART_MIB}, _cyclic),
    "hotcold": Pattern(
        {"hot": 64, "cold": 320}, _always(Piece("hot", 0, 64)), (Piece("cold", 0, 320),)
    ),
    "growth": Pattern({"heap": 320}, _growth, (Piece("heap", 32, 256),), filled={"heap": 32}),
    "streaming": Pattern({"hot": 48, "file": 320}, _streaming, files=("file",)),
    "shift": Pattern(
        {"common": 32, "first": 96, "second": 96, "cold": 96},
        _shift,
        (Piece("first", 0, 96), Piece("cold", 0, 96)),
    ),
    "roomy": Pattern(
        {"hot": 64, "cold": 128}, _always(Piece("hot", 0, 64)), (Piece("cold", 0, 128),)
    ),
    "tight": Pattern({"hot": 32, "ring": 96}, _tight),
    # Its clock is the number of steps: 60 of 100 MiB make a phase.
    "seed": Pattern({"all": 600}, _seed, step_s=1.0, steps=SEED_STEPS, stride=64),
}
