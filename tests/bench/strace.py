"""Counting writes to DAMON's files the same way for every program: from strace's record.

strace prints the path behind each descriptor (`-yy`), so nothing depends on how a program writes.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_CALL = re.compile(
    r"\b(?:write|pwrite64)\(\d+<(?P<path>/sys/(?:kernel/mm/damon|module/damon\w*)/[^>]+)>, "
    r'"(?P<text>(?:[^"\\]|\\.)*)"'
)
_QUERY = re.compile(r"update_\w+")


@dataclass(frozen=True, slots=True)
class Writes:
    """`changing`: what is staged, and the commands that put it in force. `queries`: commands
    that only have the kernel update files for reading (`update_*`)."""

    changing: int
    queries: int
    commands: tuple[tuple[str, int], ...] = ()


def wrapper(record: Path) -> list[str]:
    """Words before a command that put its writes on `record`; raises where there is no strace."""
    if shutil.which("strace") is None:
        raise RuntimeError("strace is not installed (apt-get install strace)")
    return [
        *("strace", "-f", "-qq", "-yy", "-s", "200", "--seccomp-bpf"),
        *("-e", "trace=write,pwrite64", "-e", "signal=none", "-o", str(record)),
    ]


def count(record: str) -> Writes:
    """Of the text of a record. A write that failed and was made again counts twice: it was two."""
    found = [(m["path"], m["text"].replace("\\n", "").strip()) for m in _CALL.finditer(record)]
    commands = Counter(text for path, text in found if path.endswith("/state"))
    queries = sum(number for word, number in commands.items() if _QUERY.fullmatch(word))
    return Writes(len(found) - queries, queries, tuple(sorted(commands.items())))


class Record:
    """A growing record, told phase by phase."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, 0

    def phase(self) -> Writes:
        """What was written since the last call."""
        text = self._path.read_text(errors="replace") if self._path.exists() else ""
        fresh, self._seen = text[self._seen :], len(text)
        return count(fresh)
