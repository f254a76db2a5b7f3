"""Which directories to watch for which names, so that no change of configuration goes unseen."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from damos_agent.agent.digest import BASES, POLICIES, SETTINGS, SUFFIX

EVERY: Final = "*" + SUFFIX
"""Every policy file name in the directory matters."""

MAX_LINKS: Final = 40
"""As the kernel: more links than this are a loop (include/linux/namei.h, MAXSYMLINKS)."""

Points = dict[str, set[str]]
"""Real directory → names in it that matter."""


def watch_points(config_root: str) -> Points:
    """Every directory entry from the search path's directories down to policies and agent.yaml.

    Symbolic links are followed entry by entry, so that a swap anywhere on the way (Kubernetes'
    `..data`, a link to another directory) is seen. Where something is missing, its first missing
    entry is waited for.
    """
    points: defaultdict[str, set[str]] = defaultdict(set)
    for base in BASES:
        start = _deepest(config_root, base)
        _follow(start, _below(config_root, base, SETTINGS, start), points)
        real = _follow(start, _below(config_root, base, POLICIES, start), points)
        if real is None or not os.path.isdir(real):
            continue
        points[real].add(EVERY)
        for name in _links(real):
            _follow(real, name, points)
    return dict(points)


def matters(names: set[str], name: str) -> bool:
    """Whether a change of entry `name` may matter in a directory watched for `names`."""
    return name in names or (EVERY in names and name.endswith(SUFFIX))


def _deepest(config_root: str, base: str) -> str:
    """The directory `base` itself, or the nearest one above it that exists."""
    path = os.path.join(config_root, base)
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _below(config_root: str, base: str, path: str, start: str) -> str:
    return os.path.relpath(os.path.join(config_root, base, path), start)


def _links(directory: str) -> Iterator[str]:
    """Policies that are links; a mask (a link to /dev/null) leads nowhere worth watching."""
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        path = os.path.join(directory, name)
        is_link = name.endswith(SUFFIX) and os.path.islink(path)
        if is_link and os.path.realpath(path) != os.devnull:
            yield name


def _follow(start: str, path: str, points: defaultdict[str, set[str]]) -> str | None:
    """Walk `path` from directory `start`, noting each step; the real path of its end, or None."""
    here = os.path.realpath(start)
    steps = path.split("/")[::-1]
    links = 0
    while steps:
        step = steps.pop()
        if step in ("", ".", ".."):
            here = os.path.dirname(here) if step == ".." else here
            continue
        points[here].add(step)
        entry = os.path.join(here, step)
        target = _link_target(entry)
        if target is None or links == MAX_LINKS:
            return None
        if not target:
            here = entry
            continue
        links += 1
        here = "/" if target.startswith("/") else here
        steps += target.split("/")[::-1]
    return here


def _link_target(path: str) -> str | None:
    """What the link `path` names, "" if it is no link, None if there is nothing."""
    try:
        return os.readlink(path) if stat.S_ISLNK(os.lstat(path).st_mode) else ""
    except OSError:
        return None
