"""The multi-gen LRU's debugfs: ages of a cgroup's memory, aging and eviction by hand.

Linux: Documentation/admin-guide/mm/multigen_lru.rst. Experimental there, and no ABI. Memcg ids
are 16 bits wide on 6.12 and 64 on 7.3: only paths mean anything from one reading to the next.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from typing import Final

from damos_agent.host.filesystem import GONE, Filesystem, read_if_there
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError, UnsupportedError

MIN_GENERATIONS: Final = 2
"""So many youngest generations are never evicted (MIN_NR_GENS)."""

_CORE: Final = 0x1
_MM_WALK: Final = 0x2
_INIT_NAMESPACE: Final = "cgroup:[4026531835]"  # PROC_CGROUP_INIT_INO
_MEMCG: Final = re.compile(r"memcg +(\d+) (.*)")
_NODE: Final = re.compile(r" node +(\d+)")
_GENERATION: Final = re.compile(r" +(\d+) +(\d+) +(\d+)x? +(\d+)")
_HINT: Final = "needs CONFIG_LRU_GEN, debugfs mounted, and no kernel lockdown (Secure Boot)"


@dataclass(frozen=True, slots=True)
class Generation:
    """Memory last known to be used about `age_ms` ago; the higher `number`, the younger."""

    number: int
    age_ms: int
    anonymous_bytes: int
    file_bytes: int

    @property
    def total_bytes(self) -> int:
        """Both kinds."""
        return self.anonymous_bytes + self.file_bytes


@dataclass(frozen=True, slots=True)
class LruNode:
    """A cgroup's memory on a NUMA node, generations oldest first.

    `memcg` is the kernel's id, valid as long as the cgroup; `path` that of the cgroup, `/` for the
    root, and empty on a kernel without memory cgroups.
    """

    memcg: int
    path: str
    node: int
    generations: tuple[Generation, ...]

    @property
    def youngest(self) -> int:
        """The kernel's max_gen_nr."""
        return self.generations[-1].number

    @property
    def oldest(self) -> int:
        """The kernel's min_gen_nr."""
        return self.generations[0].number


def parse_lru_gen(text: str, page_bytes: int) -> tuple[LruNode, ...]:
    """All of `lru_gen`, without a line that was cut short or a node without generations."""
    found: list[LruNode] = []
    memcg, path, node = 0, "", 0
    rows: list[Generation] = []
    lines = text.split("\n")[:-1]
    for line in [*lines, ""]:
        if match := _GENERATION.match(line):
            number, age, anonymous, file = map(int, match.groups())
            rows.append(Generation(number, age, anonymous * page_bytes, file * page_bytes))
            continue
        if rows:
            found.append(LruNode(memcg, path, node, tuple(rows)))
            rows = []
        if match := _MEMCG.match(line):
            memcg, path = int(match[1]), match[2]
        elif match := _NODE.match(line):
            node = int(match[1])
    return tuple(found)


def is_enabled(fs: Filesystem, roots: Roots) -> bool:
    """Whether the kernel uses it at all (`/sys/kernel/mm/lru_gen/enabled`)."""
    return bool(_capabilities(fs, roots) & _CORE)


def walks_page_tables(fs: Filesystem, roots: Roots) -> bool:
    """Whether agings look at accessed bits at all; else they make everything old."""
    return bool(_capabilities(fs, roots) & _MM_WALK)


def sees_own_paths(fs: Filesystem, roots: Roots) -> bool:
    """Whether its paths are those we see: not in a cgroup namespace other than the first."""
    try:
        return fs.readlink(f"{roots.proc}/self/ns/cgroup") == _INIT_NAMESPACE
    except OSError:
        return True  # no such namespaces in this kernel


def read_lru_gen(fs: Filesystem, roots: Roots) -> tuple[LruNode, ...]:
    """Every cgroup with memory, on every node.

    `UnsupportedError` where there is no such file or lockdown forbids it (EPERM), `HostError`
    without the right to read it.
    """
    path = _path(roots)
    try:
        text = fs.read(path)
    except OSError as error:
        raise _error("generations cannot be read", path, error) from error
    return parse_lru_gen(text, os.sysconf("SC_PAGE_SIZE"))


def find_nodes(all_nodes: tuple[LruNode, ...], path: str) -> tuple[LruNode, ...]:
    """Those of the cgroup `path`, without what lies below it."""
    return tuple(one for one in all_nodes if one.path.rstrip("/") == path.rstrip("/"))


def find_tree(all_nodes: tuple[LruNode, ...], path: str) -> tuple[LruNode, ...]:
    """Those of the cgroup `path` and of all below it."""
    top = path.rstrip("/")
    return tuple(one for one in all_nodes if f"{one.path.rstrip('/')}/".startswith(f"{top}/"))


def command(fs: Filesystem, roots: Roots, text: str) -> None:
    """Hand one command to the kernel. Errors as `read_lru_gen`; also `HostError` on a refusal.

    Success means little: 6.12 silently ignores generations that have passed. Read again.
    """
    path = _path(roots)
    try:
        fs.write(path, text)
    except OSError as error:
        raise _error(f"the command `{text}` was refused", path, error) from error


def age_command(node: LruNode) -> str:
    """Look at accesses and begin a new generation."""
    return f"+ {node.memcg} {node.node} {node.youngest}"


def evict_command(node: LruNode, generation: int, swappiness: str, pages: int) -> str:
    """Evict up to `pages` pages of `generation` and older ones.

    `swappiness`: "0" for file pages only, "200" for anonymous ones first, "max" for them only.

    `ValueError` for one of the `MIN_GENERATIONS` youngest, which hold what is in use.
    """
    if generation > node.youngest - MIN_GENERATIONS:
        raise ValueError(f"generation {generation} of {node.path} is too young to be evicted")
    return f"- {node.memcg} {node.node} {generation} {swappiness} {pages}"


def _capabilities(fs: Filesystem, roots: Roots) -> int:
    text = read_if_there(fs, f"{roots.sysfs}/kernel/mm/lru_gen/enabled")
    return int(text, 16) if text else 0


def _path(roots: Roots) -> str:
    return f"{roots.sysfs}/kernel/debug/lru_gen"


def _error(what: str, path: str, error: OSError) -> HostError | UnsupportedError:
    if error.errno in GONE or error.errno == errno.EPERM:
        return UnsupportedError(what, path=path, errno=error.errno, hint=_HINT)
    return HostError(what, path=path, errno=error.errno, hint="run as root")
