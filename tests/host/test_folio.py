"""Heads and sizes of folios, on a file in place of the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from damos_agent.host.folio import LRU, PageFlags
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from tests.userspace.frames import write_folio


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for name in ("kpageflags", "kpagecount"):
        (tmp_path / name).write_bytes(bytes(8 << 14))
    return tmp_path


@pytest.mark.parametrize("order", range(10))
@pytest.mark.parametrize("inside", ["first", "second", "middle", "last"])
def test_the_head_is_found_from_every_page(proc: Path, order: int, inside: str) -> None:
    head, size = 3 << 10, 1 << order
    write_folio(proc, head, order, LRU)
    write_folio(proc, head + size, order, LRU)  # its neighbour is another one
    page = {"first": 0, "second": 1 % size, "middle": size // 2, "last": size - 1}[inside]
    flags = PageFlags(Roots(proc=str(proc)))
    assert flags.head(head + page) == head
    assert flags.pages(head) == size
    flags.close()


def test_a_small_folio_in_the_place_of_a_huge_ones_middle(proc: Path) -> None:
    write_folio(proc, 1024 + 256, 2, LRU)
    flags = PageFlags(Roots(proc=str(proc)))
    assert flags.head(1024 + 258) == 1024 + 256
    flags.close()


def test_frames_that_do_not_exist_have_nothing(proc: Path) -> None:
    flags = PageFlags(Roots(proc=str(proc)))
    assert flags.flags(1 << 40) == 0
    assert flags.mappings(1 << 40) == 0
    assert flags.head(1 << 40) == 1 << 40
    flags.close()
    flags.close()


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"kpageflags.*CAP_DAC_READ_SEARCH"):
        PageFlags(Roots(proc=str(tmp_path)))
