"""What every verb shares: where the machine is, how to reach it, and what a terminal takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from damos_agent.host.filesystem import Filesystem, RealFilesystem
from damos_agent.host.roots import Roots


def read_btf(sysfs: str) -> bytes | None:
    """The kernel's own; imported late, because most verbs do without it."""
    from damos_agent.host import btf

    return btf.read_btf(sysfs)


@dataclass(frozen=True, slots=True)
class Session:
    """`color`: True and False as asked for, None to look at the terminal. `debug`: tracebacks.

    `read_btf(sysfs)` gives the kernel's type information, or None where there is none.
    """

    roots: Roots = field(default_factory=Roots)
    fs: Filesystem = field(default_factory=RealFilesystem)
    sleep: Callable[[float], None] = time.sleep
    read_btf: Callable[[str], bytes | None] = read_btf
    color: bool | None = None
    debug: bool = False

    @property
    def status_socket(self) -> str:
        """Where the agent answers."""
        return f"{self.roots.run}/status.sock"


def color_wish(word: str) -> bool | None:
    """`--color` as click understands it. https://no-color.org is honoured by `auto`."""
    if word == "auto":
        return False if os.environ.get("NO_COLOR") else None
    return word == "always"
