"""Outcome records for people: rows, or curves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import click

from damos_agent.algo.record import OutcomeRecord
from damos_agent.cli.table import Column, Row, lay_out
from damos_agent.model.units import human_size

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_COLUMNS: Final = (
    Column("TIME"),
    Column("POLICY"),
    Column("STATE", spare=2),
    Column("LIMITED BY"),
    Column("APPLIED", right=True),
    Column("REFAULTS", right=True),
    Column("RESIDENT", right=True, spare=3),
    Column("NET", right=True),
    Column("CPU", right=True, spare=1),
)
_LABEL: Final = 9
_TAIL: Final = 24


def rows(records: Sequence[OutcomeRecord], width: int | None) -> Iterator[str]:
    """A table, the oldest first."""
    yield from lay_out(_COLUMNS, [_row(record) for record in records], width)


def _row(record: OutcomeRecord) -> Row:
    when = time.strftime("%m-%d %H:%M:%S", time.localtime(record.wall))
    code = record.limited_by
    limit = click.style(code, fg="yellow") if code.startswith("guard") else code
    effect = record.effect
    return Row(
        (
            when,
            record.policy,
            record.state,
            limit,
            human_size(effect.applied),
            "-" if effect.refaults is None else str(effect.refaults),
            _size(effect.resident_after),
            _size(record.net),
            _share(record),
        )
    )


def _size(value: int | None) -> str:
    if value is None:
        return "-"
    return f"-{human_size(-value)}" if value < 0 else human_size(value)


def _share(record: OutcomeRecord) -> str:
    if record.cpu_us is None or not record.interval_us:
        return "-"
    return f"{record.cpu_us / record.interval_us:.2%}"


def curves(records: Sequence[OutcomeRecord], width: int) -> Iterator[str]:
    """Three curves for each policy, from its first record to its last."""
    for name in dict.fromkeys(record.policy for record in records):
        mine = [record for record in records if record.policy == name]
        first, last = (time.localtime(one.wall) for one in (mine[0], mine[-1]))
        span = f"{time.strftime('%m-%d %H:%M', first)} to {time.strftime('%m-%d %H:%M', last)}"
        yield f"{click.style(name, bold=True)}  {span}, {len(mine)} records"
        room = max(width - _LABEL - _TAIL, 10)
        yield _curve("net", [record.net for record in mine], room, _size)
        yield _curve("applied", [record.effect.applied for record in mine], room, _size)
        yield _curve("refaults", [record.effect.refaults for record in mine], room, _plain)


def _plain(value: int | None) -> str:
    return "-" if value is None else str(value)


def _curve(
    label: str, values: Sequence[int | None], room: int, spell: Callable[[int | None], str]
) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return f"  {label:<{_LABEL}}not known"
    least, most = min(0, *known), max(0, *known)
    marks = "".join(_mark(value, least, most) for value in _thinned(values, room))
    return f"  {label:<{_LABEL}}{marks}  {spell(min(known))} to {spell(max(known))}"


def _mark(value: int | None, least: int, most: int) -> str:
    if value is None:
        return " "
    if most == least:
        return _BLOCKS[0]
    return _BLOCKS[(value - least) * (len(_BLOCKS) - 1) // (most - least)]


def _thinned(values: Sequence[int | None], room: int) -> list[int | None]:
    """At most `room` of them: of those that share a place, the one furthest from nothing."""
    if len(values) <= room:
        return list(values)
    found: list[int | None] = []
    for place in range(room):
        group = values[place * len(values) // room : (place + 1) * len(values) // room]
        known = [value for value in group if value is not None]
        found.append(max(known, key=abs) if known else None)
    return found
