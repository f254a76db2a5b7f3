"""What validation found: a stable code, a place, what is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

STDIN: Final = "<stdin>"
"""The path of findings about standard input."""


class Severity(StrEnum):
    """An `error` rejects its file; a `warning` does not; a `note` only informs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """`line` and `column` count from 1; 0 means the file as a whole. `code` is never reused."""

    code: str
    severity: Severity
    message: str
    path: str
    line: int = 0
    column: int = 0
    hint: str = ""
    policy: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {self.severity} {self.code}: {self.message}{hint}"
