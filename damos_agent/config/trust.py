"""May this path decide what root does? Only if nobody but root can change what it says."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Final

from damos_agent.config.codes import finding
from damos_agent.model.finding import Finding

_MOST_LINKS: Final = 40


@dataclass(frozen=True, slots=True)
class Trust:
    """`enforced` is False for anyone but root, who then can only hurt themselves."""

    enforced: bool

    def check(self, path: str) -> Finding | None:
        """What is wrong with `path`, the directories above it, and the links on the way.

        Raises `OSError` when something on the way cannot be looked at.
        """
        if not self.enforced:
            return None
        for step in _steps(path):
            if (found := _check_one(step, path)) is not None:
                return found
        return None


def current_trust() -> Trust:
    """Strict for root only."""
    return Trust(enforced=os.geteuid() == 0)


def _steps(path: str) -> list[str]:
    """Paths whose owners could redirect `path`: itself, its parents, links and their parents."""
    steps: dict[str, None] = {}
    here = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        resolved_parent = os.path.realpath(os.path.dirname(here))
        for item in (*_ancestors(os.path.dirname(here)), *_ancestors(resolved_parent)):
            steps[item] = None
        here = os.path.join(resolved_parent, os.path.basename(here))
        steps[here] = None
        if not os.path.islink(here):
            break
        here = os.path.normpath(os.path.join(resolved_parent, os.readlink(here)))
    return list(steps)


def _ancestors(directory: str) -> list[str]:
    found = [directory]
    while (parent := os.path.dirname(found[-1])) != found[-1]:
        found.append(parent)
    return found


def _check_one(step: str, path: str) -> Finding | None:
    info = os.lstat(step)
    what = "it" if step == path else step
    if info.st_uid != 0:
        message = f"refused: {what} is owned by user {info.st_uid}, not by root"
        return finding("DA111", message, path, hint=f"chown root:root {step}")
    if stat.S_ISLNK(info.st_mode):
        return None
    loose = info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and info.st_gid != 0)
    sticky_directory = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
    # In a sticky directory nobody can replace root's entries; a device node (/dev/null) has no
    # content to replace; on a read-only mount (a Kubernetes ConfigMap is 0777) nobody can write.
    if not loose or stat.S_ISCHR(info.st_mode) or _is_read_only(step):
        return None
    if sticky_directory and step != os.path.dirname(path):
        return None
    who = "everybody" if info.st_mode & stat.S_IWOTH else f"group {info.st_gid}"
    return finding("DA110", f"refused: {who} may write {what}", path, hint=f"chmod go-w {step}")


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
