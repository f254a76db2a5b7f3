"""Freed memory leaves the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
from damos_agent.host.libc import give_back

def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

pieces = [bytearray(60_000) for _ in range(500)]  # below malloc's threshold for mmap
last = bytearray(60_000)                          # holds the top of the heap
held = rss()
del pieces
give_back()
print(held - rss())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can")
def test_free_memory_in_the_middle_of_the_heap_goes_back() -> None:
    freed = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    ).stdout

    assert int(freed) > 20 << 20
