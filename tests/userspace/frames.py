"""Files in place of the kernel's page-wise ones: 8 bytes a page, or a bit."""

from __future__ import annotations

from pathlib import Path

from damos_agent.host.folio import COMPOUND_HEAD, COMPOUND_TAIL


def put(path: Path, index: int, value: int) -> None:
    """The word at `index`."""
    with path.open("r+b") as file:
        file.seek(8 * index)
        file.write(value.to_bytes(8, "little"))


def get(path: Path, index: int) -> int:
    """The word at `index`."""
    return int.from_bytes(path.read_bytes()[8 * index : 8 * index + 8], "little")


def write_folio(proc: Path, head: int, order: int, flags: int) -> None:
    """Flags of a folio's pages in `proc/kpageflags`."""
    put(proc / "kpageflags", head, flags | (COMPOUND_HEAD if order else 0))
    for page in range(1, 1 << order):
        put(proc / "kpageflags", head + page, flags | COMPOUND_TAIL)
