"""What became of idle memory from one look at a policy's regions to the next. Pure.

By address, since regions split and merge in between; DAMON's ages are averages, so each piece
remembers since when it is idle. All times are microseconds of one steady clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

_SECOND_US: Final = 1_000_000
_MOST_PIECES: Final = 1_024
"""Kept of one policy; beyond that, neighbours of about the same age become one."""
_MOST_APART_S: Final = 86_400
_MOST_AGE_S: Final = 255
"""Beyond that ages are not told apart; numbers up to 256 take no room."""


@dataclass(frozen=True, slots=True)
class Row:
    """A region: [start, end) in bytes of target number `target`.

    `access_bp`: share of checks that found an access; `age_us`: how long it has been like that.
    Whoever takes a target's place needs another number. Leave out regions of which checks told
    nothing.
    """

    target: int
    start: int
    end: int
    access_bp: int
    age_us: int


@dataclass(frozen=True, slots=True)
class Look:
    """All regions of a policy at once, disjoint.

    `acting_age_us`: the least age at which a scheme that changes memory acts on it now, None where
    none acts; `acted_bytes`: tried by such schemes since the last look (`sz_tried`). To act makes
    an age 0, as a touch does.
    """

    now_us: int
    rows: tuple[Row, ...]
    acting_age_us: int | None = None
    acted_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Idle:
    """Memory in which no access was seen, in columns, ascending: a thousand objects would take
    twice the room.

    `ages_s`: seconds, as DAMON tells them, up to `_MOST_AGE_S`; `sinces_s`: idle since then, at
    least.
    """

    targets: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    ages_s: tuple[int, ...] = ()
    sinces_s: tuple[int, ...] = ()


Piece = tuple[int, int, int, int, int]
"""Target, start, end, age_s, since_s: a row of `Idle`."""

Change = tuple[int, int, int]
"""So many bytes, idle for so long (µs) at the last look, and for so long at this one or, where they
were touched, when that happened: at the latest, so never less than true."""


@dataclass(slots=True)
class Changes:
    """From one look to the next: memory that `stayed` idle or came `back`; what was unmapped did
    neither. `pieces` are idle now.
    """

    pieces: list[Piece] = field(default_factory=list)
    stayed: list[Change] = field(default_factory=list)
    back: list[Change] = field(default_factory=list)

    @property
    def idle(self) -> Idle:
        """To be kept until the next look."""
        if not self.pieces:
            return Idle()
        targets, starts, ends, ages, sinces = zip(*_bounded(self.pieces), strict=True)
        once = {since: since for since in sinces}
        return Idle(targets, starts, ends, ages, tuple(once[since] for since in sinces))


def compare(idle: Idle, last_us: int, look: Look) -> Changes:
    """What a look shows of memory that was `idle` at the last one.

    Touched is what shows accesses, or an age less than the time between the looks and less than
    before: where the monitor lost time ages only lag, and that is no touch. An age that an action
    may have made 0 is doubtful. Of all doubtful bytes those count as touched that schemes have not
    tried; they are taken to be out, so idle goes on. What is touched for a moment soon after an
    action, before its age reaches the time between looks, may be missed.
    """
    changes, doubtful = Changes(), []
    apart_us = look.now_us - last_us
    acting_us = look.acting_age_us if look.acted_bytes else None
    for row, start, end, old_age_us, since_us in _overlaps(idle, look.rows):
        size, age_us = end - start, row.age_us
        at_us = look.now_us - age_us
        if since_us is None:
            if not row.access_bp:
                _add(changes.pieces, row.target, start, end, age_us, at_us)
            continue
        before_us = last_us - since_us
        touched = row.access_bp > 0 or age_us < min(old_age_us, apart_us)
        if touched:
            back = (size, before_us, max(at_us, last_us) - since_us)
            if row.access_bp or not _may_be_acted(old_age_us + apart_us, acting_us):
                changes.back.append(back)
                if not row.access_bp:
                    _add(changes.pieces, row.target, start, end, age_us, at_us)
                continue
            doubtful.append(back)
        changes.stayed.append((size, before_us, look.now_us - since_us))
        kept_us = since_us if touched else min(since_us, at_us)
        _add(changes.pieces, row.target, start, end, age_us, kept_us)
    changes.back += _not_acted(doubtful, look.acted_bytes)
    return changes


def _may_be_acted(age_us: int, acting_us: int | None) -> bool:
    if acting_us is None:
        return False
    return age_us + _SECOND_US >= min(acting_us, _MOST_AGE_S * _SECOND_US)


def _not_acted(doubtful: list[Change], acted: int) -> Iterable[Change]:
    total = sum(size for size, *_ in doubtful)
    left = max(total - acted, 0)
    return ((c[0] * left // total, *c[1:]) for c in doubtful) if left else ()


def _overlaps(idle: Idle, rows: Iterable[Row]) -> Iterable[tuple[Row, int, int, int, int | None]]:
    """Rows in parts: [start, end), then the age at the last look and since when idle, if it was."""
    old = zip(idle.targets, idle.starts, idle.ends, idle.ages_s, idle.sinces_s, strict=True)
    piece = next(old, None)
    for row in sorted(rows, key=attrgetter("target", "start")):
        at, end = row.start, row.end
        while piece is not None and (piece[0], piece[1]) < (row.target, end):
            target, first, last, age_s, since_s = piece
            if target == row.target and last > at:
                if first > at:
                    yield row, at, first, 0, None
                    at = first
                yield row, at, min(last, end), age_s * _SECOND_US, since_s * _SECOND_US
                at = min(last, end)
                if last > end:
                    break
            piece = next(old, None)
        if at < end:
            yield row, at, end, 0, None


def _add(
    pieces: list[Piece], target: int, start: int, end: int, age_us: int, since_us: int
) -> None:
    """In whole seconds, so that neighbours are alike: less of an age, more of idleness."""
    age_s, since_s = min(age_us // _SECOND_US, _MOST_AGE_S), since_us // _SECOND_US
    if pieces:
        before = pieces[-1]
        if before[2] == start and before[0] == target:
            start = before[2]  # the same object takes no room of its own
            if before[3] == age_s and before[4] == since_s:
                pieces[-1] = (target, before[1], end, age_s, since_s)
                return
    pieces.append((target, start, end, age_s, since_s))


def _bounded(pieces: list[Piece]) -> list[Piece]:
    apart_s = 1
    while len(pieces) > _MOST_PIECES and apart_s <= _MOST_APART_S:
        pieces = _thinned(pieces, apart_s)
        apart_s *= 2
    return pieces


def _thinned(pieces: list[Piece], apart_s: int) -> list[Piece]:
    """Joined neighbours count as idle as the more idle one, so that a return weighs more."""
    kept = pieces[:1]
    for piece in pieces[1:]:
        target, start, end, age_s, since_s = kept[-1]
        if target == piece[0] and end == piece[1] and abs(since_s - piece[4]) <= apart_s:
            kept[-1] = (target, start, piece[2], min(age_s, piece[3]), min(since_s, piece[4]))
        else:
            kept.append(piece)
    return kept
