"""The self-test of the ages of cgroups: on a cgroup of ours, half of which is in use."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from damos_agent.host.cgroup import read_hierarchy
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.mglru import MIN_GENERATIONS, LruNode, command
from damos_agent.host.roots import Roots
from damos_agent.model.errors import DamosError, HostError, UnsupportedError
from damos_agent.model.policy import CgroupTarget
from damos_agent.userspace.group import Group
from damos_agent.userspace.memcg import CgroupAges
from damos_agent.userspace.specimen import Specimen

WAIT_S: Final = 0.3
"""From one aging to the next, at least."""
HALF_BYTES: Final = 16 << 20
_AGINGS: Final = 3
_LEAST: Final = 0.9
_REMOVALS: Final = 20


def prove_ages(ages: CgroupAges, fs: Filesystem, roots: Roots) -> None:
    """Raise `UnsupportedError`, with what was measured, unless hot reads hot and cold reads cold.

    Where no cgroup can be made, or there is no swap, without which anonymous memory has no age, it
    is enough that the file can be read and written. Takes a second. `HostError` as the file.
    """
    if reason := ages.decline():
        raise UnsupportedError(reason)
    _check_writable(fs, roots)
    with _throw_away(fs, roots) as path:
        group = Group(fs, roots, CgroupTarget(path))
        if path and not group.find() and group.has_swap():
            procs = f"{group.directory}/cgroup.procs"
            with Specimen(half_bytes=HALF_BYTES, cgroup_procs=procs) as specimen:
                compare(_aged(ages, path, specimen))


def _check_writable(fs: Filesystem, roots: Roots) -> None:
    """By no command, which is EINVAL; on a file system that is only read, it is another error."""
    try:
        command(fs, roots, "\n")
    except HostError as error:
        if error.errno != errno.EINVAL:
            raise


def _aged(ages: CgroupAges, path: str, specimen: Specimen) -> tuple[LruNode, ...]:
    for _ in range(_AGINGS):
        specimen.rest(WAIT_S)
        ages.age_nodes(ages.read(path))
    return ages.read(path)


def compare(nodes: tuple[LruNode, ...]) -> None:
    """Raise `UnsupportedError` unless both halves were told.

    The child's own memory, some MiB, is part of either.
    """
    old = young = 0
    for node in nodes:
        for one in node.generations:
            if one.number > node.youngest - MIN_GENERATIONS:
                young += one.anonymous_bytes
            else:
                old += one.anonymous_bytes
    if min(old, young) < _LEAST * HALF_BYTES:
        raise UnsupportedError(
            f"probe memcg fails its test: of {HALF_BYTES >> 20} MiB in use and as much idle, "
            f"{young >> 20} MiB were told in use and {old >> 20} MiB idle",
            hint="use another probe",
        )


@contextmanager
def _throw_away(fs: Filesystem, roots: Roots) -> Iterator[str]:
    """The path of a new cgroup, gone afterwards; empty where none can be made."""
    path = f"/damos-agent-test-{os.getpid()}"
    try:
        directory = f"{read_hierarchy(fs, roots)}{path}"
        os.mkdir(directory)
    except (DamosError, OSError):
        yield ""
        return
    try:
        yield path
    finally:
        for _ in range(_REMOVALS):
            # Whoever was in it may take a moment to leave.
            with suppress(OSError):
                os.rmdir(directory)
                break
            time.sleep(0.05)
