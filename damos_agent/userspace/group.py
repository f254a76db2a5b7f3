"""The cgroup that a policy's target means: where it is, and what its files tell."""

from __future__ import annotations

import os
from typing import Final

from damos_agent.algo.target import GroupTarget, describe
from damos_agent.host.cgroup import find_container, find_unit, read_hierarchy
from damos_agent.host.filesystem import Filesystem, read_if_there
from damos_agent.host.memory import read_meminfo
from damos_agent.host.roots import Roots
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import CgroupTarget, UnitTarget

_SWAP_LEAST: Final = 64 * os.sysconf("SC_PAGE_SIZE")
"""With less swap left, the multi-gen LRU leaves anonymous memory alone (MIN_LRU_BATCH pages)."""
_REFAULTS: Final = ("workingset_refault_anon", "workingset_refault_file")
_NO_LIMIT: Final = 1 << 62


class Group:
    """Looked up again whenever it has gone: another one of that name may have come."""

    def __init__(self, fs: Filesystem, roots: Roots, target: GroupTarget) -> None:
        self.target = target
        self.path: str | None = None
        self._fs = fs
        self._roots = roots
        self._root = ""

    @property
    def directory(self) -> str:
        """Where its files are; of a cgroup that was found."""
        return f"{self._root}{self.path or ''}".rstrip("/")

    @property
    def whole(self) -> bool:
        """Whether the cgroups below it are meant, too."""
        return not isinstance(self.target, CgroupTarget) or self.target.descendants

    def find(self) -> str:
        """Empty, or why there is none now.

        `HostError` when several are meant, `UnsupportedError` when its memory is not counted.
        """
        if self.path is None or not self._is_counted():
            self._root = read_hierarchy(self._fs, self._roots)
            self.path = self._look_up()
        return "" if self.path is not None else f"{describe(self.target)} is not there"

    def is_there(self) -> bool:
        """Whether it still is."""
        return self.path is not None and self._is_counted()

    def has_swap(self) -> bool:
        """Whether the cgroup has swap space left: else its anonymous memory is not aged."""
        if read_meminfo(self._fs, self._roots).get("SwapFree", 0) < _SWAP_LEAST:
            return False
        directory = self.directory
        while len(directory) > len(self._root):
            most = self._number(f"{directory}/memory.swap.max", _NO_LIMIT)
            if most - self._number(f"{directory}/memory.swap.current", 0) < _SWAP_LEAST:
                return False
            directory = directory.rpartition("/")[0]
        return True

    def current(self) -> int:
        """Bytes it has."""
        return self._number(f"{self.directory}/memory.current", 0)

    def spare(self) -> int:
        """Bytes beyond memory.min and memory.low, which eviction by hand would not respect."""
        names = ("memory.min", "memory.low")
        kept = max(self._number(f"{self.directory}/{name}", 0) for name in names)
        return max(self.current() - kept, 0) if kept else _NO_LIMIT

    def refaulted(self) -> int:
        """Bytes that were brought back soon after they had been evicted, ever."""
        text = read_if_there(self._fs, f"{self.directory}/memory.stat") or ""
        stat = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        return sum(int(stat.get(name, 0)) for name in _REFAULTS) * os.sysconf("SC_PAGE_SIZE")

    def can_reclaim(self) -> bool:
        """Whether there is a memory.reclaim."""
        return self._fs.exists(f"{self.directory}/memory.reclaim")

    def _look_up(self) -> str | None:
        match self.target:
            case CgroupTarget():
                path: str | None = f"/{self.target.path.strip('/')}".rstrip("/")
            case UnitTarget():
                path = find_unit(self._fs, self._root, self.target.unit)
            case _:
                path = find_container(self._fs, self._root, self.target.id_prefix)
        if path is None or not self._fs.exists(f"{self._root}{path}/cgroup.procs"):
            return None
        if not self._fs.exists(f"{self._root}{path}/memory.stat"):
            raise UnsupportedError(
                f"the memory of {describe(self.target)} is not counted by itself",
                path=f"{self._root}{path}",
                hint="switch the memory controller on in cgroup.subtree_control of its parent "
                "(systemd: MemoryAccounting=yes)",
            )
        return path

    def _is_counted(self) -> bool:
        return self._fs.exists(f"{self.directory}/memory.stat")

    def _number(self, path: str, fallback: int) -> int:
        text = (read_if_there(self._fs, path) or "").strip()
        if text == "max":
            return _NO_LIMIT
        return int(text) if text else fallback
