"""Plain aligned columns, for a terminal as for a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import click

_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A heading. `right`: numbers. `spare`: the greatest is left out first where width is short."""

    title: str
    right: bool = False
    spare: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One cell per column, styled or not, and whole lines below it."""

    cells: Sequence[str]
    notes: Sequence[str] = field(default_factory=tuple)


def lay_out(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Iterator[str]:
    """The table's lines. `width`: of the terminal, None for as wide as it takes."""
    widths = [
        max([len(column.title), *(_length(row.cells[index]) for row in rows)])
        for index, column in enumerate(columns)
    ]
    shown = _fitting(columns, widths, width)
    head = [_pad(columns[i].title, widths[i], right=columns[i].right) for i in shown]
    yield click.style(_GAP.join(head).rstrip(), bold=True)
    for row in rows:
        cells = [_pad(row.cells[i], widths[i], right=columns[i].right) for i in shown]
        yield _GAP.join(cells).rstrip()
        yield from row.notes


def _fitting(columns: Sequence[Column], widths: list[int], width: int | None) -> list[int]:
    """Indexes of the columns that fit."""
    shown = list(range(len(columns)))
    while width is not None and sum(widths[i] + len(_GAP) for i in shown) - len(_GAP) > width:
        candidates = [i for i in shown if columns[i].spare]
        if not candidates:
            break
        shown.remove(max(candidates, key=lambda i: columns[i].spare))
    return shown


def _length(cell: str) -> int:
    return len(click.unstyle(cell))


def _pad(cell: str, width: int, *, right: bool) -> str:
    blank = " " * (width - _length(cell))
    return blank + cell if right else cell + blank
