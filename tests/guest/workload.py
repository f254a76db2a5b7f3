"""A process with known truth: HOT MiB touched all the time, COLD MiB touched once.

    python -m tests.guest.workload HOT_MIB COLD_MIB [--file PATH] [--thp] [--nodes N,N] [--uid UID]

Prints one line of JSON with its address ranges once everything is resident, then touches the hot
part until it is ended. Nothing else is mapped next to either part, so each has mappings of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import sys
import time

from tests.tlb import forget_translations

MIB = 1 << 20
_GUARD, _PROT_NONE = 2 * MIB, 0
_ADDR_NO_RANDOMIZE = 0x0040000
_SET_MEMPOLICY = 238  # its number on x86-64
_MPOL_DEFAULT, _MPOL_BIND, _MPOL_INTERLEAVE = 0, 2, 3


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


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _place(nodes: list[int]) -> None:
    """Pages first touched from now on lie on these nodes, evenly; anywhere when there are none."""
    mask = ctypes.c_ulong(sum(1 << node for node in nodes))
    mode = _MPOL_DEFAULT if not nodes else _MPOL_BIND if len(nodes) == 1 else _MPOL_INTERLEAVE
    libc = ctypes.CDLL(None, use_errno=True)
    bits = 65 if nodes else 0
    if libc.syscall(_SET_MEMPOLICY, mode, ctypes.byref(mask) if nodes else None, bits):
        raise OSError(ctypes.get_errno(), "set_mempolicy")


def _address(mapped: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("hot_mib", type=int)
    parser.add_argument("cold_mib", type=int)
    parser.add_argument("--file")
    parser.add_argument("--thp", action="store_true", help="ask for huge pages in the hot part")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between rounds")
    parser.add_argument("--nodes", type=_numbers, default=[], help="NUMA nodes for both parts")
    parser.add_argument("--uid", type=int, help="become this user once started")
    arguments = parser.parse_args()
    _fix_layout()
    if arguments.uid is not None:
        os.setuid(arguments.uid)
    _place(arguments.nodes)
    cold = _map(arguments.cold_mib * MIB, arguments.file)
    guards = [mmap.mmap(-1, _GUARD, prot=_PROT_NONE)]
    hot = _map(arguments.hot_mib * MIB, None)
    guards.append(mmap.mmap(-1, _GUARD, prot=_PROT_NONE))
    # Text that compresses to about half, so that zram has something honest to do.
    pattern = (b"0123456789abcdef" * 128 + os.urandom(2048)) * (MIB // 4096)
    for mapped in (cold, hot):
        for start in range(0, len(mapped), MIB):
            mapped[start : start + MIB] = pattern
    _place([])
    if arguments.thp:
        hot.madvise(mmap.MADV_HUGEPAGE)
    ranges = {
        name: [_address(mapped), _address(mapped) + len(mapped)]
        for name, mapped in (("hot", hot), ("cold", cold))
    }
    sys.stdout.write(json.dumps({"pid": os.getpid(), **ranges}) + "\n")
    sys.stdout.flush()
    while True:
        _ = hot[::4096]
        forget_translations()
        time.sleep(arguments.pause)


if __name__ == "__main__":
    main()
