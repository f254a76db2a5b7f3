"""The kernel's own parsers (kstrtoul, kstrtoint, kstrtobool, sysfs_streq), on text."""

from __future__ import annotations

import errno

from tests.sim.errors import refuse

ULONG_MAX = (1 << 64) - 1
UINT_MAX = (1 << 32) - 1
INT_MAX = (1 << 31) - 1
_DIGITS = "0123456789abcdef"


def _radix(text: str) -> tuple[str, int]:
    if not text.startswith("0"):
        return text, 10
    if text[1:2].lower() == "x" and text[2:3].lower() in tuple(_DIGITS):
        return text[2:], 16
    return text, 8


def _magnitude(text: str) -> int:
    """kstrtoull's core: digits in the detected base, at most one newline, nothing else."""
    digits, base = _radix(text)
    digits = digits.removesuffix("\n")
    if not digits or any(digit not in _DIGITS[:base] for digit in digits.lower()):
        raise refuse(errno.EINVAL)
    value = int(digits, base)
    if value > ULONG_MAX:
        raise refuse(errno.ERANGE)
    return value


def unsigned(text: str, limit: int = ULONG_MAX) -> int:
    """kstrtoul (or kstrtouint with `limit`): EINVAL for syntax, ERANGE beyond `limit`."""
    value = _magnitude(text.removeprefix("+"))
    if value > limit:
        raise refuse(errno.ERANGE)
    return value


def signed(text: str) -> int:
    """kstrtoint: like `unsigned`, with one optional minus sign."""
    value = -_magnitude(text[1:]) if text.startswith("-") else unsigned(text)
    if not -INT_MAX - 1 <= value <= INT_MAX:
        raise refuse(errno.ERANGE)
    return value


def boolean(text: str, letters: tuple[str, str]) -> bool:
    """kstrtobool: the first letter decides (`letters`: those of yes, those of no), or on/off."""
    for answer, accepted in zip((True, False), letters, strict=True):
        if text[:1] and text[0] in accepted:
            return answer
    if text[:2].lower() in ("on", "of"):
        return text[1].lower() == "n"
    raise refuse(errno.EINVAL)


def keyword(text: str, accepted: tuple[str, ...]) -> str:
    """sysfs_streq against each of `accepted`: exact, with an optional trailing newline."""
    word = text.removesuffix("\n")
    if word not in accepted:
        raise refuse(errno.EINVAL)
    return word
