"""Residency of pages, on entries and on our own memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from damos_agent.host.pagemap import (
    HUGE_BYTES,
    PAGE_BYTES,
    Pagemap,
    Residency,
    count_entries,
    frame,
)

PRESENT, SWAPPED = 1 << 63, 1 << 62
PAGES = 16


@pytest.fixture
def memory() -> Iterator[tuple[mmap.mmap, int]]:
    size = PAGES * PAGE_BYTES
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as found:
        found.madvise(mmap.MADV_NOHUGEPAGE)
        yield found, ctypes.addressof(ctypes.c_char.from_buffer(found))


def test_an_entry_tells_frame_and_whereabouts() -> None:
    assert frame(PRESENT | 1 << 55 | 1 << 56 | 5) == 5
    assert frame(SWAPPED | 77) is None


def test_entries_add_up() -> None:
    entries = array("Q", [PRESENT | 5, SWAPPED | 9, 0, PRESENT | 6])
    assert count_entries(entries) == Residency(2 * PAGE_BYTES, PAGE_BYTES)


def test_huge_pages_are_runs_of_frames_from_an_aligned_one_on() -> None:
    unit = HUGE_BYTES // PAGE_BYTES
    run = [PRESENT | 4 * unit + page for page in range(unit)]
    assert count_entries(array("Q", run)).huge == HUGE_BYTES
    assert count_entries(array("Q", [0, *run]), first_page=unit - 1).huge == HUGE_BYTES
    assert count_entries(array("Q", [0, *run])).huge == 0
    assert count_entries(array("Q", [PRESENT] * unit)).huge == 0  # frames are not shown
    assert count_entries(array("Q", [entry + 1 for entry in run])).huge == 0


def test_touched_pages_are_present(memory: tuple[mmap.mmap, int]) -> None:
    found, start = memory
    found[0] = found[3 * PAGE_BYTES] = 1
    with Pagemap(os.getpid()) as pagemap:
        addresses = [start + page * PAGE_BYTES + 7 for page in range(PAGES)]
        assert [n for n, told in enumerate(pagemap.present(addresses)) if told] == [0, 3]
        assert pagemap.count(start, start + len(found)).present == 2 * PAGE_BYTES
        assert len(pagemap.range_entries(start, start + len(found))) == PAGES


def test_ranges_are_counted_alike_without_the_ioctl(memory: tuple[mmap.mmap, int]) -> None:
    found, start = memory
    found[0] = found[5 * PAGE_BYTES] = 1
    with Pagemap(os.getpid()) as pagemap:
        told = pagemap.count(start + 5, start + 5 * PAGE_BYTES + 1)
    with Pagemap(os.getpid(), scan_range=lambda *_: None) as pagemap:
        read = pagemap.count(start + 5, start + 5 * PAGE_BYTES + 1)
    assert (told.present, told.swapped) == (2 * PAGE_BYTES, 0)
    assert read == Residency(2 * PAGE_BYTES, 0)


def test_own_memory_is_anonymous_and_shared_with_nobody(memory: tuple[mmap.mmap, int]) -> None:
    """What a child still shares counts for neither; nor does a page of zeros, which is nobody's."""
    found, start = memory
    found[0] = found[PAGE_BYTES] = 1
    assert found[5 * PAGE_BYTES] == 0
    with Pagemap(os.getpid()) as pagemap:
        assert pagemap.count_own(start, start + len(found)) == 2 * PAGE_BYTES
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        shared = pagemap.count_own(start, start + len(found))
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)
    assert shared == 0


def test_many_separate_ranges_are_all_counted() -> None:
    size = 1500 * 2 * PAGE_BYTES
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as found:
        found.madvise(mmap.MADV_NOHUGEPAGE)
        for place in range(0, size, 2 * PAGE_BYTES):
            found[place] = 1
        start = ctypes.addressof(ctypes.c_char.from_buffer(found))
        with Pagemap(os.getpid()) as pagemap:
            assert pagemap.count(start, start + size).present == size // 2


def test_nothing_is_present_where_nothing_can_be() -> None:
    with Pagemap(os.getpid()) as pagemap:
        assert pagemap.entries([0, 1 << 62]) == [0, 0]
        assert pagemap.count(1 << 46, 1 << 46) == Residency(0, 0, 0)


def test_an_ended_process_is_told() -> None:
    child = subprocess.Popen(["sleep", "60"])
    with Pagemap(child.pid) as pagemap:
        child.kill()
        child.wait()
        with pytest.raises(ProcessLookupError):
            pagemap.entries([4096])
        with pytest.raises(ProcessLookupError):
            pagemap.count(0, 1 << 30)
    with pytest.raises(ProcessLookupError):
        Pagemap(child.pid)


def test_closing_twice_gives_back_once(tmp_path: Path) -> None:
    pagemap = Pagemap(os.getpid())
    pagemap.close()
    keep = os.open(tmp_path, os.O_RDONLY)
    pagemap.close()
    os.close(keep)
    assert pagemap.fileno() == -1
