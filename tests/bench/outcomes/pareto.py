# SPDX-License-Identifier: Apache-2.0
"""Runtime against memory saved, as SVG: one panel for the mean, one for each workload. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean
from typing import Final

from tests.bench.outcomes.results import Outcome

# Okabe and Ito's colours, which people with any colour vision tell apart; shapes differ, too.
STYLES: Final = (
    *(("#000000", "cross"), ("#E69F00", "square"), ("#56B4E9", "triangle")),
    *(("#009E73", "diamond"), ("#0072B2", "down"), ("#CC79A7", "plus"), ("#D55E00", "circle")),
)
COLUMNS: Final = 3
_WIDTH, _HEIGHT = 300, 250
_LEFT, _TOP, _RIGHT, _BOTTOM = 58, 34, 14, 46
_HEAD, _FOOT = 40, 64
_TICKS = 5
_BENT_TICKS = (-30.0, -10.0, -3.0, -1.0, 0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_FONT = 'font-family="sans-serif" font-size="11"'
_NOTE = "Medians; lines from lowest to highest of the runs."
_TITLE = "Better is up (more memory saved) and left (less runtime added)"


@dataclass(frozen=True, slots=True)
class Point:
    """Medians, with the lowest and highest of each."""

    variant: str
    x: float
    y: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to places on paper, with round numbers to label.

    `bent`: by the inverse hyperbolic sine, even around nought and logarithmic far from it, since
    ways to reclaim differ by a hundred times in what they cost.
    """

    low: float
    high: float
    start: float
    end: float
    bent: bool = False

    def place(self, value: float) -> float:
        low, high, at = (self._scaled(one) for one in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return math.asinh(value) if self.bent else value

    @property
    def ticks(self) -> list[float]:
        if self.bent:
            return [one for one in _BENT_TICKS if self.low <= one <= self.high]
        step = round_step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def round_step(extent: float) -> float:
    """1, 2 or 5 times a power of ten, of which at most five fit."""
    raw = extent / _TICKS
    power: float = 10.0 ** math.floor(math.log10(raw))
    return next(power * one for one in (1, 2, 5, 10) if power * one >= raw - 1e-12)


def axis(values: Sequence[float], start: float, end: float, *, bent: bool = False) -> Axis:
    """Nought and all values lie inside, with some room around."""
    low, high = min([0.0, *values]), max([0.0, *values])
    if bent:
        low, high = math.asinh(low), math.asinh(high)
    room = 0.08 * (high - low) or 1.0
    low, high = low - room, high + room
    if bent:
        low, high = math.sinh(low), math.sinh(high)
    return Axis(low, high, start, end, bent)


def points(found: Sequence[Outcome], workload: str) -> list[Point]:
    return [
        Point(
            one.variant,
            one.runtime.median,
            one.net_share.median,
            (min(one.runtime.values), max(one.runtime.values)),
            (min(one.net_share.values), max(one.net_share.values)),
        )
        for one in found
        if one.workload == workload
    ]


def mean_points(panels: Sequence[Sequence[Point]]) -> list[Point]:
    """Of the variants that are in every panel; without spreads, which would mean something else."""
    grouped: dict[str, list[Point]] = {}
    for point in (one for panel in panels for one in panel):
        grouped.setdefault(point.variant, []).append(point)
    found = []
    for variant, mine in grouped.items():
        if len(mine) == len(panels):
            x, y = fmean(one.x for one in mine), fmean(one.y for one in mine)
            found.append(Point(variant, x, y, (x, x), (y, y)))
    return found


def svg(found: Sequence[Outcome], workloads: Sequence[str], variants: Sequence[str]) -> str:
    """The picture."""
    styles = dict(zip(variants, STYLES, strict=False))
    panels = {name: points(found, name) for name in workloads}
    panels = {name: panel for name, panel in panels.items() if panel}
    every = {"mean of all workloads": mean_points(list(panels.values())), **panels}
    rows = -(-len(every) // COLUMNS)
    width, height = COLUMNS * _WIDTH, _HEAD + rows * _HEIGHT + _FOOT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT}>',
        "<title>Runtime against net memory saved</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{width / 2}" y="25" text-anchor="middle" font-size="16">{_TITLE}</text>',
    ]
    for number, (name, panel) in enumerate(every.items()):
        x = number % COLUMNS * _WIDTH
        y = _HEAD + number // COLUMNS * _HEIGHT
        lines.append(f'<g transform="translate({x} {y})">')
        lines += _panel(name, panel, styles)
        lines.append("</g>")
    lines += _legend(variants, styles, width, _HEAD + rows * _HEIGHT)
    return "\n".join([*lines, "</svg>", ""])


def _panel(
    name: str, panel: Sequence[Point], styles: Mapping[str, tuple[str, str]]
) -> Iterator[str]:
    xs = axis([v for one in panel for v in one.x_range], _LEFT, _WIDTH - _RIGHT, bent=True)
    ys = axis([v for one in panel for v in one.y_range], _HEIGHT - _BOTTOM, _TOP)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="24" text-anchor="middle" font-size="13">{escape(name)}</text>'
    for tick in xs.ticks:
        at = xs.place(tick)
        yield _line((at, _TOP), (at, _HEIGHT - _BOTTOM), _grid(tick))
        yield _text(at, _HEIGHT - _BOTTOM + 15, number(tick), "middle")
    for tick in ys.ticks:
        at = ys.place(tick)
        yield _line((_LEFT, at), (_WIDTH - _RIGHT, at), _grid(tick))
        yield _text(_LEFT - 6, at + 4, number(tick), "end")
    yield _text(middle, _HEIGHT - 14, "runtime added, % (not linear)", "middle")
    centre = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text transform="translate(14 {centre}) rotate(-90)" text-anchor="middle">'
        "net saved, % of memory</text>"
    )
    for point in panel:
        yield from _drawn(point, xs, ys, styles[point.variant])


def _drawn(point: Point, xs: Axis, ys: Axis, style: tuple[str, str]) -> Iterator[str]:
    colour, shape = style
    x, y = xs.place(point.x), ys.place(point.y)
    whisker = f'stroke="{colour}" stroke-width="1.2"'
    if point.x_range[0] < point.x_range[1]:
        low, high = (xs.place(value) for value in point.x_range)
        yield _line((low, y), (high, y), whisker)
    if point.y_range[0] < point.y_range[1]:
        low, high = (ys.place(value) for value in point.y_range)
        yield _line((x, low), (x, high), whisker)
    yield marker(x, y, colour, shape)


def marker(x: float, y: float, colour: str, shape: str) -> str:
    """Hollow, so that one on top of another hides nothing."""
    outlines = {
        "square": "M-5,-5H5V5H-5Z",
        "triangle": "M0,-6.5L6,5H-6Z",
        "diamond": "M0,-7L7,0L0,7L-7,0Z",
        "down": "M0,6.5L6,-5H-6Z",
        "plus": "M-6,0H6M0,-6V6",
        "cross": "M-5,-5L5,5M-5,5L5,-5",
        "circle": "M-5.5,0A5.5,5.5 0 1 0 5.5,0A5.5,5.5 0 1 0 -5.5,0Z",
    }
    return (
        f'<path transform="translate({x:.1f} {y:.1f})" d="{outlines[shape]}" fill="none" '
        f'stroke="{colour}" stroke-width="2.2"/>'
    )


def _legend(
    variants: Sequence[str], styles: Mapping[str, tuple[str, str]], width: int, top: int
) -> Iterator[str]:
    widths = [36 + 7.2 * len(name) for name in variants]
    x = (width - sum(widths)) / 2
    for name, taken in zip(variants, widths, strict=True):
        yield marker(x + 8, top + 20, *styles[name])
        yield _text(x + 20, top + 24, name, "start")
        x += taken
    yield _text(width / 2, top + 50, _NOTE, "middle")


def number(value: float) -> str:
    """Without needless digits, and without a minus before nought."""
    text = f"{value:.6g}"
    return "0" if float(text) == 0 else text


def _grid(tick: float) -> str:
    return 'stroke="#888888"' if abs(tick) < 1e-9 else 'stroke="#e2e2e2"'


def _line(a: tuple[float, float], b: tuple[float, float], style: str) -> str:
    return f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" {style}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
