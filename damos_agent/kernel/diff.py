"""What to write so that one kdamond's staged tree becomes another. Pure.

Law: applying `stage(observed, desired)` to `observed` under the kernel's rules gives `desired`,
and so does applying `stage` again after any prefix of it. Equal trees give no writes.
"""

from __future__ import annotations

from collections.abc import Iterator

from damos_agent.kernel.fields import default_of
from damos_agent.model.damon import COLLECTIONS, Tree, Write


def stage(observed: Tree, desired: Tree, prefix: str) -> tuple[Write, ...]:
    """Writes in safe order; paths get `prefix` (`0/`) in front.

    A collection whose count differs is written once and its children are then fresh: every field
    of theirs that is not at its default follows. All others are written only where they differ.
    """
    return () if observed == desired else tuple(_stage(observed, desired, prefix))


def _stage(observed: Tree, desired: Tree, prefix: str) -> Iterator[Write]:
    wiped: list[str] = []
    for path, value in desired.items():
        directory, _, name = path.rpartition("/")
        fresh = any(path.startswith(root) for root in wiped)
        old = default_of(path) if fresh else observed.get(path)
        if old == value:
            continue
        yield Write(prefix + path, value, old)
        if name in COLLECTIONS:
            wiped.append(f"{directory}/")


def differing(observed: Tree, desired: Tree) -> tuple[str, ...]:
    """Paths of `desired` that hold another value in `observed`, or are missing there."""
    return tuple(path for path, value in desired.items() if observed.get(path) != value)
