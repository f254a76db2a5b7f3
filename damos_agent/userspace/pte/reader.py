"""Page table entries of any process whose pagemap we have open."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import ExitStack

from damos_agent.model.errors import HostError
from damos_agent.userspace.pte.bpf import Program, SharedMap
from damos_agent.userspace.pte.layout import (
    ADDRESSES,
    BASE,
    COUNT,
    ENTRIES,
    FILE,
    LIMIT,
    MAP_BYTES,
    MAX_ADDRESSES,
    MM,
    PGD,
    USERS,
    Layout,
)
from damos_agent.userspace.pte.program import LICENSE, build


class Reader:
    """The loaded program. 1-2 µs a call and 0.1 µs an address. Not for concurrent use."""

    def __init__(self, layout: Layout) -> None:
        with ExitStack() as stack:
            shared = SharedMap(MAP_BYTES)
            stack.callback(shared.close)
            self._program = Program(build(shared.file, layout), LICENSE)
            stack.callback(self._program.close)
            self._words = shared.words
            self._opened = stack.pop_all()

    def set_direct_map(self, base: int, limit: int) -> None:
        """Where the kernel maps physical memory, and the end of that memory, in bytes."""
        self._words[BASE] = base
        self._words[LIMIT] = limit

    def read(self, pagemap: int, addresses: Sequence[int]) -> list[int]:
        """The entry of each address, as `entry` explains them.

        `ProcessLookupError` when the memory behind the pagemap has no process any more.
        """
        found: list[int] = []
        words = self._words
        for start in range(0, len(addresses), MAX_ADDRESSES):
            part = array("Q", addresses[start : start + MAX_ADDRESSES])
            words[ADDRESSES : ADDRESSES + len(part)] = memoryview(part)
            self._run(pagemap, len(part))
            if not words[USERS]:
                raise ProcessLookupError("the process has gone, or runs another program")
            found += words[ENTRIES : ENTRIES + len(part)].tolist()
        return found

    def identity(self, pagemap: int) -> int:
        """A number for the memory behind the pagemap, unique while that is open; 0 for none."""
        self._run(pagemap, 0)
        return self._words[MM] if self._words[USERS] else 0

    def top_table(self, pagemap: int) -> int:
        """The kernel's address of its top page table: it lies in the direct map."""
        self._run(pagemap, 0)
        return self._words[PGD]

    def _run(self, pagemap: int, count: int) -> None:
        self._words[FILE] = pagemap
        self._words[COUNT] = count
        try:
            self._program.run()
        except OSError as error:
            raise HostError("the BPF program cannot be run", errno=error.errno) from error

    def close(self) -> None:
        """Give it back; may be called again."""
        self._opened.close()
