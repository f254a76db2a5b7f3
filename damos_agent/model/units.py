"""Quantities as people write them: `5s`, `1GiB`, `10%`. Units are required and unambiguous.

Times become microseconds, sizes bytes, shares basis points (1/10000, the kernel's `_bp`).
Decimal fractions are exact (`Fraction`), never floats, so `0.1%` is 10 bp and nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from damos_agent.model.errors import UnitError

if TYPE_CHECKING:
    from fractions import Fraction

ULONG_MAX: Final = 2**64 - 1
U32_MAX: Final = 2**32 - 1
MAX: Final = "max"

_TIME_US: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_SIZE_BYTES: Final = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_AMBIGUOUS_SIZE: Final = {
    unit: binary
    for binary in ("KiB", "MiB", "GiB", "TiB")
    for unit in (binary[0], binary[0].lower(), binary[0] + "B", binary[0].lower() + "b")
}
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%]*)")


def _split(text: str, what: str, example: str) -> tuple[Fraction, str]:
    # Late: 0.5 MiB, and the resident agent only formats quantities.
    from fractions import Fraction

    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise UnitError(f"{text!r} is not a {what}", hint=f"write it like {example}")
    return Fraction(match[1]), match[2]


def _whole(value: Fraction, text: str, what: str, smallest: str) -> int:
    if value.denominator != 1:
        raise UnitError(f"{text!r} is not a whole number of {smallest}", hint=f"round the {what}")
    if value > ULONG_MAX:
        raise UnitError(f"{text!r} is larger than the kernel can hold", hint="write max")
    return int(value)


def parse_duration_us(text: str) -> int:
    """`5s` → 5 000 000. Accepts us, ms, s, m (min), h, d; `0` only with a unit."""
    number, unit = _split(text, "duration", "100ms, 5s, 2m or 1h")
    if not unit:
        raise UnitError(f"{text!r} has no unit", hint=f"write {text}s, {text}ms or {text}us")
    if unit not in _TIME_US:
        raise UnitError(f"unknown unit of time {unit!r} in {text!r}", hint=_near_time(unit))
    return _whole(number * _TIME_US[unit], text, "duration", "microseconds")


def _near_time(unit: str) -> str:
    lowered = unit.lower()
    known = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "msec": "ms", "usec": "us"}
    known |= {"mins": "m", "minutes": "m", "hour": "h", "hours": "h", "day": "d", "days": "d"}
    guess = known.get(lowered, lowered if lowered in _TIME_US else None)
    return f"did you mean {guess}?" if guess else "use us, ms, s, m, h or d"


def parse_size_bytes(text: str) -> int:
    """`1GiB` → 1073741824. Only IEC units: `K/M/G` mean 1000 to some and 1024 to others."""
    number, unit = _split(text, "size", "4KiB, 100MiB or 1GiB")
    if unit in _AMBIGUOUS_SIZE:
        binary = _AMBIGUOUS_SIZE[unit]
        raise UnitError(
            f"{unit!r} in {text!r} is ambiguous (1000 or 1024?)", hint=f"write {binary}"
        )
    if not unit:
        raise UnitError(f"{text!r} has no unit", hint=f"write {text}B, {text}KiB or {text}MiB")
    if unit not in _SIZE_BYTES:
        folded = {name.lower(): name for name in _SIZE_BYTES}.get(unit.lower())
        hint = f"did you mean {folded}?" if folded else "use B, KiB, MiB, GiB or TiB"
        raise UnitError(f"unknown unit of size {unit!r} in {text!r}", hint=hint)
    return _whole(number * _SIZE_BYTES[unit], text, "size", "bytes")


def parse_share_bp(text: str, *, most_percent: int | None = 100) -> int:
    """`2.5%` → 250 basis points. Finer than 0.01 % is refused, not rounded."""
    number, unit = _split(text, "percentage", "5% or 0.1%")
    if unit != "%":
        raise UnitError(f"{text!r} is not a percentage", hint=f"write {number}%")
    if most_percent is not None and number > most_percent:
        raise UnitError(f"{text!r} is more than {most_percent}%", hint="a share ends at 100%")
    return _whole(number * 100, text, "percentage", "hundredths of a percent")


def format_duration(us: int) -> str:
    """The shortest exact form that `parse_duration_us` reads back: 90 000 000 → `90s`."""
    for unit in ("d", "h", "m", "s", "ms"):
        if us and us % _TIME_US[unit] == 0:
            return f"{us // _TIME_US[unit]}{unit}"
    return f"{us}us"


def format_size(size: int) -> str:
    """The shortest exact form that `parse_size_bytes` reads back: 104857600 → `100MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZE_BYTES[unit] == 0:
            return f"{size // _SIZE_BYTES[unit]}{unit}"
    return f"{size}B"


def format_share(bp: int) -> str:
    """Basis points as a percentage that `parse_share_bp` reads back: 250 → `2.5%`."""
    whole, rest = divmod(bp, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") + "%" if rest else f"{whole}%"


def human_size(size: float) -> str:
    """A size for a table, three digits at most before the unit: `1.4 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
