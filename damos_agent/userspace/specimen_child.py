"""The program of a `Specimen`: memory that is touched all the time, and memory touched once.

Run as a file of its own, without site packages: it must start fast and stay small. Arguments: the
bytes of each half, 1 for huge pages, a descriptor of shared memory in which it counts its sweeps,
and the cgroup.procs to join, if any. Prints `HOT COLD`, the addresses of the halves in hexadecimal,
once both are in memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import time

PAGE = mmap.PAGESIZE
ALIGN = 2 << 20
PR_SET_PDEATHSIG = 1
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
SWEEP_S = 0.001
PAD = 64 * PAGE
"""More than the pages that the kernel keeps in a batch before it puts them on its lists, and more
than it flushes from the TLB one by one."""


def half(size: int, huge: bool) -> tuple[mmap.mmap, int, int]:
    """(memory, where the half begins in it, its address): aligned to 2 MiB, all touched."""
    memory = mmap.mmap(-1, size + ALIGN, flags=PRIVATE)
    memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    start = -address % ALIGN
    # A tail of another kind, or the kernel joins the halves, which it likes to align, to one.
    memory.madvise(mmap.MADV_DONTFORK, start + size, ALIGN - start)
    for place in range(start, start + size, PAGE):
        memory[place] = 1
    return memory, start, address + start


def main() -> None:
    """Print the addresses, then sweep until the parent has gone."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        return
    size, huge = int(sys.argv[1]), sys.argv[2] == "1"
    counter = mmap.mmap(int(sys.argv[3]), PAGE)
    sweeps = 0
    for procs in sys.argv[4:]:
        # First of all: memory is charged to the cgroup in which it is touched first.
        with open(procs, "w", encoding="ascii") as file:
            file.write("0")
    memory, start, hot = half(size, huge)
    kept, _, cold = half(size, huge)
    kept.madvise(mmap.MADV_DONTFORK)  # unlike the other: else both could become one mapping
    pad = mmap.mmap(-1, PAD, flags=PRIVATE)
    sys.stdout.write(f"{hot:x} {cold:x}\n")
    sys.stdout.flush()
    while os.getppid() == parent:
        memory[start : start + size : PAGE]
        # Giving these pages back flushes the TLB: what stays in it shows no new accesses.
        pad[::PAGE] = b"\1" * (PAD // PAGE)
        pad.madvise(mmap.MADV_DONTNEED)
        sweeps += 1
        counter[:8] = sweeps.to_bytes(8, "little")
        time.sleep(SWEEP_S)
    del kept


if __name__ == "__main__":
    main()
