# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of the mappings of a process; sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mapping:
    """`sizes` by the names that smaps gives them, such as Rss and Referenced."""

    start: int
    end: int
    sizes: dict[str, int] = field(default_factory=dict)


def parse(text: str) -> Iterator[Mapping]:
    """The mappings of /proc/PID/smaps, ascending."""
    mapping = Mapping(0, 0)
    for words in map(str.split, text.splitlines()):
        if words[-1] == "kB":
            mapping.sizes[words[0][:-1]] = int(words[1]) * 1024
        elif "-" in words[0]:
            if mapping.end:
                yield mapping
            start, _, end = words[0].partition("-")
            mapping = Mapping(int(start, 16), int(end, 16))
    if mapping.end:
        yield mapping


def read(pid: int | str = "self") -> list[Mapping]:
    """The mappings of that process now."""
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as stream:
        return list(parse(stream.read()))


def sums(mappings: list[Mapping], ranges: list[tuple[int, int]], name: str) -> int:
    """The bytes of that name of all mappings that lie within one of the ranges."""
    return sum(
        one.sizes.get(name, 0)
        for one in mappings
        if any(start <= one.start and one.end <= end for start, end in ranges)
    )
