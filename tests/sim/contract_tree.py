"""One of everything, staged: the full tree of a release, to compare one kernel with another."""

from __future__ import annotations

import os
import stat

from damos_agent.host.filesystem import RealFilesystem
from tests.sim.subject import CONTEXT, SCHEME, TARGET, Subject

COUNTS = (
    "kdamonds/nr_kdamonds",
    "kdamonds/0/contexts/nr_contexts",
    f"{CONTEXT}/monitoring_attrs/probes/nr_probes",
    f"{CONTEXT}/monitoring_attrs/probes/0/filters/nr_filters",
    f"{CONTEXT}/targets/nr_targets",
    f"{TARGET}/regions/nr_regions",
    f"{CONTEXT}/schemes/nr_schemes",
    f"{SCHEME}/quotas/goals/nr_goals",
    f"{SCHEME}/filters/nr_filters",
    f"{SCHEME}/core_filters/nr_filters",
    f"{SCHEME}/ops_filters/nr_filters",
    f"{SCHEME}/dests/nr_dests",
)


def stage_everything(subject: Subject) -> None:
    """Write 1 to every count this release has, parents first."""
    for path in COUNTS:
        if subject.has(path):
            subject.put(path, 1)


def _is_directory(subject: Subject, path: str) -> bool:
    try:
        subject.ls(path)
    except NotADirectoryError:
        return False
    return True


def walk(subject: Subject, path: str = "kdamonds") -> dict[str, str]:
    """Path → shown text of every file; directories end in a slash and have none."""
    found: dict[str, str] = {}
    for name in sorted(subject.ls(path)):
        below = f"{path}/{name}"
        if _is_directory(subject, below):
            found[below + "/"] = ""
            found |= walk(subject, below)
        else:
            found[below] = subject.fs.read(f"{subject.root}/{below}")
    return found


def writable(subject: Subject, path: str) -> bool:
    """Whether the mode has a write bit, or in the simulation, whether writing nothing works."""
    if isinstance(subject.fs, RealFilesystem):
        return bool(os.stat(f"{subject.root}/{path}").st_mode & stat.S_IWUSR)
    return subject.refusal(path, "") == 0
