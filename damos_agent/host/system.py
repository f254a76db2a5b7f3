"""The machine as a whole: boot, kernel, time, users, and DAMON modules that exclude us."""

from __future__ import annotations

import pwd
from typing import Final

from damos_agent.host.filesystem import Filesystem, read_if_there
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError

EXCLUSIVE_MODULES: Final = ("damon_stat", "damon_reclaim", "damon_lru_sort")
"""Modules that start DAMON exclusively: beside one of them no other kdamond can be turned on."""


def read_boot_id(fs: Filesystem, roots: Roots) -> str:
    """The random id of this boot."""
    return _read(fs, f"{roots.proc}/sys/kernel/random/boot_id")


def read_kernel_release(fs: Filesystem, roots: Roots) -> str:
    """What `uname -r` says."""
    return _read(fs, f"{roots.proc}/sys/kernel/osrelease")


def read_uptime_us(fs: Filesystem, roots: Roots) -> int:
    """Microseconds since boot, suspended time included, in steps of 10 ms."""
    seconds, _, hundredths = _read(fs, f"{roots.proc}/uptime").split()[0].partition(".")
    return int(seconds) * 1_000_000 + int(hundredths.ljust(6, "0"))


def read_exclusive_modules(fs: Filesystem, roots: Roots) -> tuple[str, ...]:
    """Exclusive DAMON modules that are enabled.

    Before 6.12.90 damon_reclaim and damon_lru_sort show what was last written there, not whether
    they run.
    """
    return tuple(name for name in EXCLUSIVE_MODULES if _is_enabled(fs, roots, name))


def read_uid(user: str) -> int | None:
    """The uid of a login name, or the number itself; None for a user this machine lacks."""
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def _is_enabled(fs: Filesystem, roots: Roots, module: str) -> bool:
    text = read_if_there(fs, f"{roots.sysfs}/module/{module}/parameters/enabled")
    return text is not None and text.strip() in ("Y", "1")


def _read(fs: Filesystem, path: str) -> str:
    try:
        return fs.read(path).strip()
    except OSError as error:
        raise HostError(
            "cannot be read", path=path, errno=error.errno, hint="is proc mounted there?"
        ) from error
