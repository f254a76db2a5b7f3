"""The cgroup v2 hierarchy: who is in a cgroup, and where a unit's or container's cgroup is."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from typing import Final

from damos_agent.host.filesystem import GONE, Filesystem
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError

_UNIT_SUFFIXES: Final = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")
_USER_MANAGER: Final = re.compile(r"user@\d+\.service")
# 64 hexadecimal digits alone are a container of the cgroupfs driver (docker/ID, kubepods/…/ID).
_CONTAINER: Final = re.compile(
    r"(?:(?P<runtime>[a-z][a-z-]*)-(?P<id>[0-9a-f]{12,64})(?:\.scope)?|(?P<plain>[0-9a-f]{64}))"
)
_RUNTIMES: Final = frozenset({"docker", "cri-containerd", "crio", "libpod", "nerdctl", "podman"})
_MACHINE: Final = re.compile(r"machine-(?P<name>.+)\.scope")
_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})")


def read_hierarchy(fs: Filesystem, roots: Roots) -> str:
    """The directory where cgroup v2 is mounted: `roots.cgroup`, or `unified` below it (hybrid).

    `HostError` when there is none.
    """
    for root in (roots.cgroup, f"{roots.cgroup}/unified"):
        if fs.exists(f"{root}/cgroup.controllers"):
            return root
    raise HostError(
        "there is no cgroup v2 hierarchy",
        path=roots.cgroup,
        hint="boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 there",
    )


def read_pids(fs: Filesystem, root: str, path: str, *, descendants: bool) -> frozenset[int] | None:
    """Processes of cgroup `path` below the hierarchy `root`; None when it does not exist.

    Processes of another pid namespace, which the kernel shows as 0, are left out.
    """
    path = _inside(path)
    own = _read_procs(fs, root + path)
    if own is None or not descendants:
        return own
    found = set(own)
    for below in _walk(fs, root, path, lambda _path, _name: True):
        found |= _read_procs(fs, root + below) or frozenset()
    return frozenset(found)


def find_unit(fs: Filesystem, root: str, unit: str) -> str | None:
    """The cgroup path of a running systemd unit; None when there is none of that name.

    A name without a suffix means a service. The system manager's unit goes first, then that of
    the one user manager which runs it; several users running it are a `HostError`. Units of a
    systemd inside a container are never meant.
    """
    name = unit if unit.endswith(_UNIT_SUFFIXES) else f"{unit}.service"
    # systemd puts "_" before names that would clash with the kernel's own files.
    wanted = {name, f"_{name}"}
    found = [
        path
        for path in _walk(fs, root, "", _is_slice_or_user_manager)
        if path.rpartition("/")[2] in wanted
    ]
    system = [path for path in found if not _is_of_user(path)]
    candidates = system or found
    if len(candidates) > 1:
        raise HostError(
            f"several users run the unit {name}: {', '.join(sorted(candidates))}",
            hint="name one of these paths as the target's cgroup",
        )
    return candidates[0] if candidates else None


def find_container(fs: Filesystem, root: str, id_prefix: str) -> str | None:
    """The cgroup path of the container whose id starts with `id_prefix`; None without one.

    Knows docker, podman (libpod), containerd and cri-o below systemd, plain ids of the cgroupfs
    driver, and machines of systemd-nspawn by name. `HostError` when two containers match.
    """
    found: dict[str, str] = {}
    for path in _walk(fs, root, "", lambda _path, _name: True):
        name = container_id(path.rpartition("/")[2])
        if name is not None and name.startswith(id_prefix):
            found.setdefault(name, path)
    exact = found.get(id_prefix)
    if exact is not None:
        return exact
    if len(found) > 1:
        raise HostError(
            f"container id {id_prefix} is ambiguous: {' and '.join(sorted(found))}",
            hint="write more digits of the id",
        )
    return next(iter(found.values()), None)


def container_id(name: str) -> str | None:
    """The id (nspawn: the machine's name) if a cgroup of this name is a container's, or None."""
    machine = _MACHINE.fullmatch(name)
    if machine is not None:
        return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), machine["name"])
    match = _CONTAINER.fullmatch(name)
    if match is None or (match["runtime"] and match["runtime"] not in _RUNTIMES):
        return None
    return match["id"] or match["plain"]


def _inside(path: str) -> str:
    parts = [part for part in path.split("/") if part and part != "."]
    if ".." in parts:
        raise HostError(f"cgroup {path} leads out of the hierarchy", hint="write it without ..")
    return "".join(f"/{part}" for part in parts)


def _read_procs(fs: Filesystem, directory: str) -> frozenset[int] | None:
    try:
        text = fs.read(f"{directory}/cgroup.procs")
    except OSError as error:
        if error.errno in GONE or error.errno == errno.ENOTDIR:
            return None
        if error.errno == errno.EOPNOTSUPP:
            # A threaded cgroup: its processes are those of the domain above it.
            return frozenset()
        raise HostError(
            "the processes of this cgroup cannot be read",
            path=directory,
            errno=error.errno,
            hint="run as root",
        ) from error
    return frozenset(int(word) for word in text.split()) - {0}


def _walk(
    fs: Filesystem, root: str, start: str, enters: Callable[[str, str], bool]
) -> Iterator[str]:
    """Paths of the cgroups below `start`, those near it first.

    Goes down where `enters(path, name)` says so. What once proved to be a file is not tried
    again: the kernel's files have the same names in every cgroup.
    """
    files: set[str] = set()
    level = [start]
    while level:
        deeper: list[str] = []
        for path in level:
            for name in sorted(set(_list(fs, root + path) or ()) - files):
                below = f"{path}/{name}"
                if _list(fs, root + below) is None:
                    files.add(name)
                    continue
                yield below
                if enters(below, name):
                    deeper.append(below)
        level = deeper


def _list(fs: Filesystem, directory: str) -> list[str] | None:
    """Names in a directory, none once it has gone; None for what is no directory."""
    try:
        return fs.listdir(directory)
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return None
        if error.errno in GONE or error.errno in (errno.EACCES, errno.EPERM):
            return []
        raise


def _is_slice_or_user_manager(_path: str, name: str) -> bool:
    return name.endswith(".slice") or _USER_MANAGER.fullmatch(name) is not None


def _is_of_user(path: str) -> bool:
    return any(_USER_MANAGER.fullmatch(part) for part in path.split("/")[:-1])
