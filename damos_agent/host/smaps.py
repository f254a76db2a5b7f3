"""What /proc/PID/smaps tells of a process's mappings (proc_pid_smaps(5))."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_VSYSCALL: Final = b"[vsyscall]"
_KIB: Final = 1024

# Fields between those asked for differ between kernels, their order does not. A line skipped must
# start with a capital, as no header does: a record that lacks a field never borrows the next one's.
_SKIP: Final = rb"(?:[A-Z][^\n]*\n)*?"
_FIELDS: Final = (
    b"KernelPageSize",
    b"Rss",
    b"Shared_Clean",
    b"Shared_Dirty",
    b"Referenced",
    b"Anonymous",
    b"AnonHugePages",
    b"ShmemPmdMapped",
    b"FilePmdMapped",
    b"Swap",
)
_RECORD: Final = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) (?:\S+ ){3}\d+ *([^\n]*)\n"
    + b"".join(_SKIP + name + rb": +(\d+) kB\n" for name in _FIELDS)
    + _SKIP
    + rb"VmFlags: ([^\n]*)\n",
    re.MULTILINE,
)


class Smap(NamedTuple):
    """One mapping. Sizes in bytes, `start` and `end` addresses.

    `shared`: resident by pages that are mapped more than once; `huge`: mapped by whole huge pages
    of memory, shmem or a file; `rss` leaves out hugetlbfs, as the kernel does. `flags`: the pairs
    of letters of VmFlags; `name` as in maps, where a newline reads `\\012`.
    """

    start: int
    end: int
    rss: int
    referenced: int
    anonymous: int
    swap: int
    shared: int
    huge: int
    flags: frozenset[str]
    name: str
    page_size: int


def parse_smaps(text: bytes) -> tuple[Smap, ...]:
    """The mappings, ascending, none overlapping another.

    The kernel lets go of the mappings between the pieces it is read in. What was read twice, since
    it was merged with its neighbour in between, counts as read last; a record that was cut short
    is left out, as is the vsyscall page, which belongs to no process.
    """
    found: list[Smap] = []
    size = _Bytes()
    for row in _RECORD.findall(text):
        if row[2] == _VSYSCALL:
            continue
        new = _smap(row, size)
        while found and found[-1].end > new.start:
            found.pop()
        found.append(new)
    return tuple(found)


class _Bytes(dict[bytes, int]):
    """KiB in digits to bytes, each number converted once: most are 0 or 4."""

    def __missing__(self, digits: bytes) -> int:
        value = self[digits] = int(digits) * _KIB
        return value


def _smap(row: tuple[bytes, ...], size: _Bytes) -> Smap:
    start, end, name, page, rss, clean, dirty, used, anonymous, anon, shmem, file, swap, flags = row
    return Smap(
        int(start, 16),
        int(end, 16),
        size[rss],
        size[used],
        size[anonymous],
        size[swap],
        size[clean] + size[dirty],
        size[anon] + size[shmem] + size[file],
        _flags(flags),
        name.decode("utf-8", "replace"),
        size[page],
    )


@lru_cache(maxsize=256)
def _flags(text: bytes) -> frozenset[str]:
    return frozenset(text.decode("ascii", "replace").split())
