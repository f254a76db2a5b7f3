"""A process with known truth: HOT MiB touched all the time, COLD MiB touched once.

    python -m tests.guest.workload HOT_MIB COLD_MIB [--name NAME] [--file PATH] [--thp]

Prints one line of JSON with its address ranges once everything is resident, then touches the hot
part until it is ended.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import sys
import time

MIB = 1 << 20
_ADDR_NO_RANDOMIZE = 0x0040000


def _fix_layout() -> None:
    """Start over without address randomisation, so that every run has the same three regions.

    With it the heap lies up to 32 GiB behind the program, and that hole, which DAMON monitors as
    part of the first region, takes its share of every size quota.
    """
    libc = ctypes.CDLL(None)
    if not libc.personality(0xFFFFFFFF) & _ADDR_NO_RANDOMIZE:
        libc.personality(_ADDR_NO_RANDOMIZE)
        command = [sys.executable, "-m", "tests.guest.workload", *sys.argv[1:]]
        os.execv(sys.executable, command)  # the same program again


def _map(size: int, path: str | None) -> mmap.mmap:
    if path is None:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(descriptor, size)
    mapped = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED)
    os.close(descriptor)
    return mapped


def _address(mapped: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("hot_mib", type=int)
    parser.add_argument("cold_mib", type=int)
    parser.add_argument("--file")
    parser.add_argument("--thp", action="store_true", help="ask for huge pages in the hot part")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between rounds")
    arguments = parser.parse_args()
    _fix_layout()
    cold = _map(arguments.cold_mib * MIB, arguments.file)
    hot = _map(arguments.hot_mib * MIB, None)
    # Text that compresses to about half, so that zram has something honest to do.
    pattern = (b"0123456789abcdef" * 128 + os.urandom(2048)) * (MIB // 4096)
    for mapped in (cold, hot):
        for start in range(0, len(mapped), MIB):
            mapped[start : start + MIB] = pattern
    if arguments.thp:
        hot.madvise(mmap.MADV_HUGEPAGE)
    ranges = {
        name: [_address(mapped), _address(mapped) + len(mapped)]
        for name, mapped in (("hot", hot), ("cold", cold))
    }
    sys.stdout.write(json.dumps({"pid": os.getpid(), **ranges}) + "\n")
    sys.stdout.flush()
    while True:
        total = sum(hot[::4096])
        if total < 0:
            raise AssertionError("bytes are not negative")
        time.sleep(arguments.pause)


if __name__ == "__main__":
    main()
