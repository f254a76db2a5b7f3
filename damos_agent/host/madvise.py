"""Advice on another process's memory: process_madvise(2), by pidfd, over lists of ranges.

The system call stops at the first range it does not like and tells only how far it came, so the
walk here leaves that one out and goes on. Its bytes are those of the advice, not of its effect:
PAGEOUT without swap space "advises" everything. Effects are to be read back.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

from damos_agent.host.libc import system_call
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange

IOV_MAX: Final = 1024
"""Ranges one call takes (UIO_MAXIOV)."""

RETRIES: Final = 4
"""How often one range is tried again after EAGAIN or EINTR."""

NR_PROCESS_MADVISE: Final = 440
"""The same on every architecture."""
_PASSING: Final = frozenset({errno.EAGAIN, errno.EINTR})


class Advice(IntEnum):
    """What process_madvise takes for another process, up to Linux 7.3."""

    WILLNEED = 3
    COLD = 20
    PAGEOUT = 21
    COLLAPSE = 25


Call: TypeAlias = Callable[[int, Advice, Sequence[AddressRange]], int]
"""pidfd, advice, ranges → bytes advised; raises `OSError`."""


@dataclass(frozen=True, slots=True)
class Advised:
    """Bytes of ranges that were taken, and of those refused, by errno."""

    taken: int = 0
    refused: dict[int, int] = field(default_factory=dict)


def process_madvise(pidfd: int, advice: Advice, ranges: Sequence[AddressRange]) -> int:
    """The bare system call; bytes advised before it stopped."""
    numbers = [number for r in ranges for number in (r.start, r.end - r.start)]
    vector = array("Q", numbers)
    address, _ = vector.buffer_info()
    return system_call(NR_PROCESS_MADVISE, pidfd, address, len(ranges), advice, 0)


def cut(ranges: Iterable[AddressRange], unit: int) -> Iterator[AddressRange]:
    """The ranges cut at every multiple of `unit` bytes, so that no huge page is torn by it."""
    for item in ranges:
        start = item.start
        while start < item.end:
            end = min((start // unit + 1) * unit, item.end)
            yield AddressRange(start, end)
            start = end


def plan_calls(
    ranges: Iterable[AddressRange], call_bytes: int, most: int = IOV_MAX
) -> Iterator[tuple[AddressRange, ...]]:
    """The ranges as vectors of at most `call_bytes` and `most` entries each, in their order."""
    vector: list[AddressRange] = []
    size = 0
    for piece in cut(ranges, call_bytes):
        length = piece.end - piece.start
        if vector and (size + length > call_bytes or len(vector) >= most):
            yield tuple(vector)
            vector, size = [], 0
        vector.append(piece)
        size += length
    if vector:
        yield tuple(vector)


def advise(
    pidfd: int, advice: Advice, ranges: Sequence[AddressRange], call: Call = process_madvise
) -> Advised:
    """Give the advice for all ranges, leaving out those that the kernel refuses.

    Raises `ProcessLookupError` once the process has gone, `HostError` when we may not.
    """
    rest = list(ranges)
    taken = tries = 0
    refused: dict[int, int] = {}
    while rest:
        try:
            done = call(pidfd, advice, rest[:IOV_MAX])
        except OSError as error:
            if error.errno in _PASSING and tries < RETRIES:
                tries += 1
                continue
            number = _refusal(error, advice)
            done = 0
        else:
            number = errno.EIO
        if done <= 0:
            bad = rest.pop(0)
            refused[number] = refused.get(number, 0) + bad.end - bad.start
        taken += done
        tries = 0
        rest = _after(rest, done)
    return Advised(taken, refused)


def _refusal(error: OSError, advice: Advice) -> int:
    """The errno of a range that is to be left out; raises for what concerns all of them."""
    number = error.errno or errno.EIO
    if number == errno.ESRCH:
        raise ProcessLookupError(number, "the process has gone") from error
    if number == errno.EPERM:
        raise HostError(
            f"not allowed to give {advice.name} advice to another process",
            errno=number,
            hint="it takes CAP_SYS_NICE and CAP_SYS_PTRACE",
        ) from error
    if number in (errno.ENOSYS, errno.EBADF):
        raise HostError(
            "process_madvise does not work",
            errno=number,
            hint="it takes Linux 5.10, and a seccomp filter that lets it through",
        ) from error
    return number


def _after(ranges: list[AddressRange], done: int) -> list[AddressRange]:
    """What is left of the ranges behind their first `done` bytes."""
    for index, item in enumerate(ranges):
        length = item.end - item.start
        if done < length:
            rest = ranges[index:]
            rest[0] = AddressRange(item.start + done, item.end)
            return rest
        done -= length
    return []
