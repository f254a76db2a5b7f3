"""Rung `memcg`: how old a cgroup's memory is, and eviction of the cold, by the multi-gen LRU.

Without addresses: for statistics, for reclaim, and as a check on what another probe has seen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
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
    is_enabled,
    read_lru_gen,
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


class Verdict(StrEnum):
    """What the multi-gen LRU says to our evidence."""

    AGREES = "agrees"
    CONTRADICTS = "contradicts"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Idle:
    """Bytes idle for some time as far as the kernel looked: from `surely` to `possibly`."""

    surely: int
    possibly: int


def idle_bytes_of(histogram: Sequence[Generation], idle_us: int) -> Idle:
    """What generations, oldest first, know of memory idle for `idle_us`.

    A page was last seen used, or came, between the beginnings of its generation and the next.
    """
    surely = possibly = 0
    for index, generation in enumerate(histogram):
        end_ms = histogram[index + 1].age_ms if index + 1 < len(histogram) else 0
        surely += generation.total_bytes if end_ms * 1000 >= idle_us else 0
        possibly += generation.total_bytes if generation.age_ms * 1000 >= idle_us else 0
    return Idle(surely, possibly)


def check(idle_bytes: int, histogram: Sequence[Generation], idle_us: int) -> Verdict:
    """Hold our claim, so many bytes of the cgroup idle for `idle_us`, against its ages.

    Contradicted when the kernel has seen use of more than that leaves room for. It cannot tell
    after fewer than two agings, and agreement proves little: what stays in a TLB looks idle.
    """
    looked = sum(one.age_ms * 1000 < idle_us for one in histogram)
    if looked < MIN_GENERATIONS:
        return Verdict.CANNOT_TELL
    room = idle_bytes_of(histogram, idle_us).possibly
    return Verdict.CONTRADICTS if idle_bytes > room + idle_bytes // _TOLERANCE else Verdict.AGREES


class CgroupAges:
    """The generations of cgroup memory, by path. Errors as `read_lru_gen`."""

    def __init__(self, fs: Filesystem, roots: Roots) -> None:
        self._fs = fs
        self._roots = roots

    @property
    def info(self) -> ProbeInfo:
        """What it is."""
        return MEMCG

    def decline(self) -> str:
        """Why it cannot be used here; empty if it can. Raises only what a broken machine raises."""
        if not is_enabled(self._fs, self._roots):
            return "the multi-gen LRU is not built in or not enabled"
        try:
            read_lru_gen(self._fs, self._roots)
        except (HostError, UnsupportedError) as error:
            return str(error)
        return ""

    def read(self, path: str) -> tuple[LruNode, ...]:
        """One for each NUMA node, of cgroup `path` alone; empty once it has gone."""
        return find_nodes(read_lru_gen(self._fs, self._roots), path)

    def age(self, path: str) -> bool:
        """Look at accesses once more; whether a new generation has begun on every node.

        Without swap the kernel does not look at anonymous memory: its ages then mean nothing. (7.3
        does when told a swappiness, 6.12 refuses that.)
        """
        before = self.read(path)
        for node in before:
            command(self._fs, self._roots, age_command(node))
        now = {(one.memcg, one.node): one.youngest for one in self.read(path)}
        return bool(before) and all(
            now.get((one.memcg, one.node), 0) > one.youngest for one in before
        )

    def evict(self, path: str, max_bytes: int, min_idle_us: int, swappiness: int) -> int:
        """Evict what was not seen used for that long; how many bytes have left, by reading again.

        Hand it a few MiB at a time: the call returns when it is done, and cannot be stopped.
        """
        left = max_bytes
        for node in self.read(path):
            generation = _evictable(node, min_idle_us)
            if generation is None:
                continue
            wanted = min(left, _up_to(node, generation))
            if wanted > 0:
                left -= self._evict(node, generation, swappiness, wanted)
        return max_bytes - left

    def _evict(self, node: LruNode, generation: int, swappiness: int, size: int) -> int:
        pages = max(size // os.sysconf("SC_PAGE_SIZE"), 1)
        command(self._fs, self._roots, evict_command(node, generation, swappiness, pages))
        after = [one for one in self.read(node.path) if one.node == node.node]
        return max(_up_to(node, generation) - sum(_up_to(one, generation) for one in after), 0)


def _evictable(node: LruNode, min_idle_us: int) -> int | None:
    """The youngest generation that is surely idle for that long and may be evicted."""
    found = None
    for older, younger in zip(node.generations, node.generations[1:], strict=False):
        if younger.age_ms * 1000 >= min_idle_us and older.number <= node.youngest - MIN_GENERATIONS:
            found = older.number
    return found


def _up_to(node: LruNode, generation: int) -> int:
    return sum(one.total_bytes for one in node.generations if one.number <= generation)
