"""A fingerprint of all configuration files, cheap enough to take every minute.

Only this decides whether anything changed; watching directories merely tells when to look.
A file whose inode, size and times are as before is not read again, unless it was so young when
read that a later write could share its time stamp.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Final

from damos_agent.model.sha256 import sha256

BASES: Final = ("etc", "run", "usr/local/lib", "usr/lib")
"""Directories of the search path below the configuration root, highest rank first."""
POLICIES: Final = "damos-agent/policies.d"
SETTINGS: Final = "damos-agent/agent.yaml"
SUFFIX: Final = ".yaml"

READ_LIMIT: Final = 4 << 20
"""Longer files are refused by the compiler anyway; size and times stand for the rest."""
YOUNG_NS: Final = 1_000_000_000
"""Coarsest time stamp of the file systems configuration lives on, with a margin."""

Identity = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime in ns."""
Seen = dict[str, tuple[Identity, str]]
"""Digests of file contents by path, for the next call."""


def policy_directories(config_root: str) -> list[str]:
    """Where policies are looked for, highest rank first."""
    return [os.path.join(config_root, base, POLICIES) for base in BASES]


def settings_files(config_root: str) -> list[str]:
    """Where agent.yaml may be, highest rank first."""
    return [os.path.join(config_root, base, SETTINGS) for base in BASES]


def digest_tree(
    config_root: str, seen: Seen | None = None, *, clock_ns: Callable[[], int] = time.time_ns
) -> tuple[str, Seen]:
    """sha256 over names, owners, modes and contents, and what to pass as `seen` next time.

    The directories above take part too, by their owners and modes.
    What cannot be read takes part by its error, so that becoming readable is a change too.
    """
    whole = sha256()
    now_seen: Seen = {}
    for path in _paths(config_root):
        whole.update(f"{path!r} {_describe(path, seen or {}, now_seen, clock_ns())}\n".encode())
    return whole.hexdigest(), now_seen


def _above(config_root: str) -> list[str]:
    """Every directory on the way to a policy directory: who may write there may replace it."""
    found: set[str] = set()
    for directory in policy_directories(config_root):
        above = os.path.abspath(directory)
        while above != os.path.dirname(above):
            above = os.path.dirname(above)
            found.add(above)
    return sorted(found)


def _paths(config_root: str) -> Iterator[str]:
    yield from _above(config_root)
    yield from settings_files(config_root)
    for directory in policy_directories(config_root):
        yield directory
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        yield from (os.path.join(directory, n) for n in sorted(names) if n.endswith(SUFFIX))


def _describe(path: str, seen: Seen, now_seen: Seen, now_ns: int) -> str:
    try:
        status = os.stat(path)
        link = os.readlink(path) if os.path.islink(path) else ""
        about = f"{status.st_mode:o} {status.st_uid} {status.st_gid} {link!r}"
        if not stat.S_ISREG(status.st_mode):
            return about
        identity = _identity(status)
        cached = seen.get(path)
        content = cached[1] if cached and cached[0] == identity else _content(path)
        if now_ns - status.st_ctime_ns > YOUNG_NS or (cached and cached[0] == identity):
            now_seen[path] = identity, content
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "error")
    return f"{about} {content}"


def _identity(status: os.stat_result) -> Identity:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _content(path: str) -> str:
    # O_NONBLOCK: the file may have become a FIFO since it was looked at.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        data = b""
        while len(data) < READ_LIMIT and (chunk := os.read(descriptor, READ_LIMIT - len(data))):
            data += chunk
    finally:
        os.close(descriptor)
    beyond = f" {_identity(status)}" if status.st_size > READ_LIMIT else ""
    return sha256(data).hexdigest() + beyond
