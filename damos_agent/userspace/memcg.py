"""Rung `memcg`: how old a cgroup's memory is, and eviction of the cold, by the multi-gen LRU.

Without addresses: for statistics, for reclaim, and as a check on what another probe has seen.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from damos_agent.host.filesystem import Filesystem
from damos_agent.host.mglru import (
    MIN_GENERATIONS,
    Generation,
    LruNode,
    age_command,
    command,
    evict_command,
    find_nodes,
    find_tree,
    is_enabled,
    read_lru_gen,
    sees_own_paths,
    walks_page_tables,
)
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.userspace.probe import Granularity, ProbeInfo

MEMCG: Final = ProbeInfo(
    name="memcg",
    granularity=Granularity.CGROUP,
    sees="rw",
    limits=(
        "ages of a whole cgroup's memory without addresses, of anonymous memory only with swap on; "
        "debugfs, not an ABI"
    ),
)
_TOLERANCE: Final = 10
"""A tenth of our figure may be off: pages come and go between two readings."""


class Kind(StrEnum):
    """The two halves of every generation, which the kernel ages and evicts apart."""

    ANONYMOUS = "anonymous"
    FILE = "file"

    def bytes_of(self, generation: Generation) -> int:
        """This half of a generation."""
        if self is Kind.ANONYMOUS:
            return generation.anonymous_bytes
        return generation.file_bytes


class Verdict(StrEnum):
    """What the multi-gen LRU says to our evidence."""

    AGREES = "agrees"
    CONTRADICTS = "contradicts"
    CANNOT_TELL = "cannot tell"


def sure_idle_us(generations: Sequence[Generation], index: int) -> int:
    """For how long a generation, of these oldest first, was surely not used when last looked at.

    Its pages were seen used, or came, before the next one began, and no aging has found them in use
    since. What happened after the latest aging, when the youngest began, nobody has seen.
    """
    if index + 1 >= len(generations):
        return 0
    return max(generations[index + 1].age_ms - generations[-1].age_ms, 0) * 1_000


def room_of(generations: Sequence[Generation], idle_us: int, kind: Kind) -> int:
    """Bytes of one kind that may be idle for `idle_us`: the kernel has seen no use of them since.

    Of what it has not looked at twice in that time, it knows nothing: all of it may be.
    """
    known = _has_looked(generations, idle_us)
    return sum(
        kind.bytes_of(one) for one in generations if not known or one.age_ms * 1000 >= idle_us
    )


def check(
    idle_bytes: int,
    nodes: Sequence[Sequence[Generation]],
    idle_us: int,
    kind: Kind,
    *,
    swap: bool,
) -> Verdict:
    """Hold our claim, so many bytes of the cgroup idle for `idle_us`, against its ages.

    `nodes`: generations of each cgroup and NUMA node that is meant. Contradicted when the kernel
    has seen use of more than that leaves room for. It cannot tell where it has not looked twice,
    nor of anonymous memory without `swap`, which agings then pass over, nor of more than there is:
    that is charged elsewhere. Agreement proves little: what stays in a TLB looks idle.
    """
    claim = idle_bytes - idle_bytes // _TOLERANCE
    there = sum(kind.bytes_of(one) for node in nodes for one in node)
    if claim > there or (kind is Kind.ANONYMOUS and not swap):
        return Verdict.CANNOT_TELL
    if claim > sum(room_of(node, idle_us, kind) for node in nodes):
        return Verdict.CONTRADICTS
    looked = (node for node in nodes if _has_looked(node, idle_us))
    seen = sum(room_of(node, idle_us, kind) for node in looked)
    return Verdict.AGREES if claim <= seen else Verdict.CANNOT_TELL


def _has_looked(generations: Sequence[Generation], idle_us: int) -> bool:
    return sum(one.age_ms * 1000 < idle_us for one in generations) >= MIN_GENERATIONS


class CgroupAges:
    """The generations of cgroup memory, by path. Errors as `read_lru_gen`."""

    def __init__(self, fs: Filesystem, roots: Roots) -> None:
        self._fs = fs
        self._roots = roots
        self._anonymous_only = "max"

    @property
    def info(self) -> ProbeInfo:
        """What it is."""
        return MEMCG

    def decline(self) -> str:
        """Why it cannot be used here; empty if it can. Raises only what a broken machine raises."""
        if not is_enabled(self._fs, self._roots):
            return "the multi-gen LRU is not built in or not enabled"
        if not walks_page_tables(self._fs, self._roots):
            return "the multi-gen LRU does not walk page tables here (bit 0x2 of its switch)"
        if not sees_own_paths(self._fs, self._roots):
            return "the agent is in a cgroup namespace: its paths are not the multi-gen LRU's"
        try:
            read_lru_gen(self._fs, self._roots)
        except (HostError, UnsupportedError) as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Nothing is held."""

    def read(self, path: str) -> tuple[LruNode, ...]:
        """One for each NUMA node, of cgroup `path` alone; empty once it has gone."""
        return find_nodes(read_lru_gen(self._fs, self._roots), path)

    def read_tree(self, path: str) -> tuple[LruNode, ...]:
        """As `read`, with the cgroups below it."""
        return find_tree(read_lru_gen(self._fs, self._roots), path)

    def age(self, path: str) -> bool:
        """Look at accesses once more; whether a new generation has begun on every node.

        Without swap the kernel does not look at anonymous memory: its ages then mean nothing. (7.3
        does when told a swappiness, 6.12 refuses that.)
        """
        before = self.read(path)
        self.age_nodes(before)
        now = {(one.memcg, one.node): one.youngest for one in self.read(path)}
        return bool(before) and all(
            now.get((one.memcg, one.node), 0) > one.youngest for one in before
        )

    def age_nodes(self, nodes: Iterable[LruNode]) -> None:
        """Look at accesses of all these, as just read. A cgroup that has gone is passed over."""
        for node in nodes:
            try:
                command(self._fs, self._roots, age_command(node))
            except HostError as error:
                if error.errno != errno.EINVAL or self._is_there(node):
                    raise

    def evict(
        self, path: str, kind: Kind, max_bytes: int, min_idle_us: int, *, numa: int | None = None
    ) -> int:
        """Evict what was not seen used for that long; how many bytes have left, by reading again.

        Of one NUMA node, or of all. Hand it a few MiB at a time: the call returns when it is done,
        and cannot be stopped. What it takes may be some hundred KiB more.
        """
        left = max_bytes
        for node in self.read(path):
            generation = _evictable(node, min_idle_us)
            if generation is None or numa not in (None, node.node):
                continue
            wanted = min(left, _up_to(node, generation, kind))
            if wanted > 0:
                left -= self._evict(node, generation, kind, wanted)
        return max_bytes - left

    def _evict(self, node: LruNode, generation: int, kind: Kind, size: int) -> int:
        pages = max(size // os.sysconf("SC_PAGE_SIZE"), 1)
        try:
            self._command_eviction(node, generation, kind, pages)
        except HostError as error:
            if error.errno != errno.EINVAL or self._is_there(node):
                raise
        after = [one for one in self.read(node.path) if one.node == node.node]
        if not after:
            return 0  # the cgroup has gone, and its memory with it
        # Over all generations: what was found in use meanwhile has only moved to a younger one.
        return max(_total(node, kind) - sum(_total(one, kind) for one in after), 0)

    def _command_eviction(self, node: LruNode, generation: int, kind: Kind, pages: int) -> None:
        if kind is Kind.FILE:
            command(self._fs, self._roots, evict_command(node, generation, "0", pages))
            return
        try:
            swappiness = self._anonymous_only
            command(self._fs, self._roots, evict_command(node, generation, swappiness, pages))
        except HostError as error:
            if error.errno != errno.EINVAL or self._anonymous_only != "max":
                raise
            # Before `max` was taken (6.12), 200 is the next best: anonymous memory first.
            command(self._fs, self._roots, evict_command(node, generation, "200", pages))
            self._anonymous_only = "200"

    def _is_there(self, node: LruNode) -> bool:
        return any(one.memcg == node.memcg for one in self.read(node.path))


def _evictable(node: LruNode, min_idle_us: int) -> int | None:
    """The youngest generation that is surely idle for that long and may be evicted."""
    found = None
    for index, one in enumerate(node.generations):
        idle = sure_idle_us(node.generations, index) >= min_idle_us
        if idle and one.number <= node.youngest - MIN_GENERATIONS:
            found = one.number
    return found


def _up_to(node: LruNode, generation: int, kind: Kind) -> int:
    return sum(kind.bytes_of(one) for one in node.generations if one.number <= generation)


def _total(node: LruNode, kind: Kind) -> int:
    return sum(map(kind.bytes_of, node.generations))
