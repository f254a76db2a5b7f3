# SPDX-License-Identifier: Apache-2.0
"""Layouts as words on a command line: `HotCold:total=64M,hot_start=16M,hot_bytes=8M`."""

from __future__ import annotations

from dataclasses import fields

from tests.load.layout import HotCold, MovingWindow, Stairs, Stripes, Zigzag
from tests.load.skewed import Skewed
from tests.load.truth import Layout, check

_CLASSES = {one.__name__: one for one in (HotCold, Stripes, Stairs, Zigzag, MovingWindow, Skewed)}
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def number(text: str) -> int:
    """Bytes or a plain number: 4096, 64K, 8M, 1G."""
    unit = _UNITS.get(text[-1:].upper())
    return int(text[:-1]) * unit if unit else int(text)


def parse(text: str) -> Layout:
    """The layout so spelled; ValueError says what is wrong with it."""
    name, _, rest = text.partition(":")
    if name not in _CLASSES:
        raise ValueError(f"no layout {name!r}; there are {', '.join(_CLASSES)}")
    try:
        layout = _CLASSES[name](**dict(_value(word) for word in rest.split(",")))  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"{text}: {error}") from error
    check(layout)
    return layout


def _value(word: str) -> tuple[str, int | float]:
    name, _, value = word.partition("=")
    return name, float(value) if name == "exponent" else number(value)


def spell(layout: Layout) -> str:
    """What `parse` reads as this layout."""
    words = (f"{field.name}={getattr(layout, field.name)}" for field in fields(layout))
    return f"{type(layout).__name__}:{','.join(words)}"
