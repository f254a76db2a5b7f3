# SPDX-License-Identifier: Apache-2.0
"""The loads that monitors are judged on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.load.layout import HotCold, MovingWindow, Stairs, Stripes, Zigzag
from tests.load.load import Load
from tests.load.run import start
from tests.load.skewed import Skewed
from tests.load.truth import Layout

MIB = 1 << 20
TOTAL = 256 * MIB
SMALL = 64 * MIB
GUEST_OPTIONS = ("--flush", "--pause", "0.04")
"""In a guest touching is slow; still there is a round in each sample."""
_GAP = ("--gap", "2M")
_STEP_ROUNDS = 500
"""Some ten seconds: five aggregations."""


@dataclass(frozen=True, slots=True)
class Case:
    """`parts`: what is hot and what is cold lie in mappings of their own."""

    name: str
    layout: Layout
    parts: bool = False
    processes: int = 1


def cases(total: int = TOTAL, hold: int = 20) -> list[Case]:
    """One mapping each, where only page probes can tell where; then the same in many mappings."""
    hot = HotCold(total, total * 3 // 8, total // 8)
    small = HotCold(total // 4, total * 3 // 32, total // 32)
    stripes = Stripes(total, 8, total // 32)
    stairs = Stairs(total, 4, hold)
    moving = (total, total // 8, total // 16, _STEP_ROUNDS)
    return [
        Case("HotCold", hot),
        Case("Stripes", stripes),
        Case("Stairs", stairs),
        Case("Zigzag", Zigzag(*moving)),
        Case("MovingWindow", MovingWindow(*moving)),
        Case("Skewed", Skewed(total, 8, grain=2 * MIB)),
        Case("HotCold, 4 processes", small, processes=4),
        Case("HotCold, own mappings", hot, parts=True),
        Case("Stripes, own mappings", stripes, parts=True),
        Case("Stairs, own mappings", stairs, parts=True),
    ]


def guest_cases() -> list[Case]:
    """Fewer and smaller ones."""
    names = ("HotCold", "Stripes", "Stairs", "HotCold, own mappings")
    return [case for case in cases(SMALL, 8) if case.name in names]


@contextmanager
def started(every: Sequence[Case], kind: str, *options: str) -> Iterator[dict[str, list[Load]]]:
    """All of them at the same time, by name."""
    with ExitStack() as stack:
        yield {
            case.name: [
                stack.enter_context(
                    start(case.layout, kind, *(_GAP if case.parts else ()), *options)
                )
                for _ in range(case.processes)
            ]
            for case in every
        }
