"""Which capabilities this process has: /proc/self/status, capabilities(7)."""

from __future__ import annotations

from typing import Final

from damos_agent.host.filesystem import Filesystem
from damos_agent.host.roots import Roots

CAP_SYS_ADMIN: Final = 21
CAP_SYS_NICE: Final = 23


def has_capability(fs: Filesystem, roots: Roots, number: int) -> bool | None:
    """Whether it is effective; None where that cannot be told."""
    try:
        status = fs.read(f"{roots.proc}/self/status")
    except OSError:
        return None
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> number & 1)
    return None
