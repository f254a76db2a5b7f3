"""What an unquoted YAML word means, where YAML 1.1, YAML 1.2 and people agree; else a doubt.

Accepted: `true`, `false`, plain decimal integers, and text that no common parser takes for
anything else. PyYAML, yaml-language-server and Kubernetes tools then all read the same file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_MOST_DIGITS: Final = 20  # ULONG_MAX has 20

_BOOLEANS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false"})
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

_DOUBTS: Final = (
    (re.compile(r"[-+]?0[0-9_]+|0o[0-7]+"), "an octal number to some YAML parsers"),
    (re.compile(r"[-+]?0[xX][0-9a-fA-F_]+"), "a hexadecimal number to YAML parsers"),
    (re.compile(r"[-+]?0[bB][01_]+"), "a binary number to some YAML parsers"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "a base-60 number"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*"), "a number to some YAML parsers"),
    (re.compile(r"\+[0-9]+"), "a number to YAML parsers"),
    (
        re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?"),
        "a fraction to some YAML parsers",
    ),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), "a special number to YAML parsers"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"), "a date to some YAML parsers"),
    (re.compile(r"=|<<"), "a special word to some YAML parsers"),
)
_ANY_DOUBT: Final = re.compile("|".join(pattern.pattern for pattern, _ in _DOUBTS))


@dataclass(frozen=True, slots=True)
class Doubt:
    """A word that parsers disagree about: what it might be, and what to write instead."""

    text: str
    might_be: str
    hint: str


class TooManyDigits(ValueError):  # noqa: N818 - names the fault, and is caught by the caller
    """An integer that no 64-bit field can hold."""


def resolve_plain(text: str) -> str | int | bool | Doubt | None:
    """The value of an unquoted scalar. Raises `TooManyDigits` for absurd integers."""
    if text in ("true", "false"):
        return text == "true"
    if text in _NULLS:
        return None
    if _INTEGER.fullmatch(text):
        if len(text) > _MOST_DIGITS:
            raise TooManyDigits(text[:_MOST_DIGITS])
        return int(text)
    first = text[0]
    if first.isalpha() and text.lower() in _BOOLEANS:
        return Doubt(text, "a truth value to some YAML parsers", _boolean_hint(text))
    if first in "0123456789+-.=<" and _ANY_DOUBT.fullmatch(text):
        for pattern, might_be in _DOUBTS:
            if pattern.fullmatch(text):
                return Doubt(text, might_be, f'write "{text}" in quotes if text is meant')
    return text


def _boolean_hint(text: str) -> str:
    truth = "true" if text.lower() in ("y", "yes", "on", "true") else "false"
    return f'write {truth}, or "{text}" in quotes'
