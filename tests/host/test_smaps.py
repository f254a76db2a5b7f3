"""The text of smaps: exact, in any kernel's layout, however it was cut."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.host.smaps import Smap, parse_smaps

KIB = 1024
OLD = ("Size", "KernelPageSize", "MMUPageSize", "Rss", "Pss")
REST: tuple[str, ...] = (
    "Shared_Clean",
    "Shared_Dirty",
    "Private_Clean",
    "Private_Dirty",
    "Referenced",
    "Anonymous",
)
REST += ("LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb")
REST += ("Private_Hugetlb", "Swap", "SwapPss", "Locked")
NEW = (*OLD, "Pss_Dirty", *REST[:6], "KSM", *REST[6:])


def record(
    start: int,
    end: int,
    name: str = "",
    *,
    flags: str = "rd wr mr mw me ac ",
    fields: tuple[str, ...] = NEW,
    sizes: Mapping[str, int] | None = None,
    **kib: int,
) -> str:
    """One mapping in the layout of Linux 6.12 and later."""
    head = f"{start:08x}-{end:08x} rw-p 00000000 00:00 0"
    kib = {"Size": (end - start) // KIB, "KernelPageSize": 4, "MMUPageSize": 4} | kib
    kib |= sizes or {}
    body = "".join(f"{field + ':':<16}{kib.get(field, 0):>8} kB\n" for field in fields)
    return (
        f"{head:<73}{name}\n".replace("  \n", "\n") + body + f"THPeligible:           0\n"
        f"VmFlags: {flags}\n"
    )


def parse(text: str) -> tuple[Smap, ...]:
    return parse_smaps(text.encode())


def test_a_mapping_with_everything() -> None:
    text = record(
        0x7F0000000000,
        0x7F0000400000,
        "/srv/with space/a (deleted)",
        Rss=4096,
        Referenced=2052,
        Anonymous=100,
        Swap=8,
        Shared_Clean=4,
        Shared_Dirty=12,
        AnonHugePages=2048,
        ShmemPmdMapped=1,
        FilePmdMapped=3,
    )
    assert parse(text) == (
        Smap(
            start=0x7F0000000000,
            end=0x7F0000400000,
            rss=4096 * KIB,
            referenced=2052 * KIB,
            anonymous=100 * KIB,
            swap=8 * KIB,
            shared=16 * KIB,
            huge=2052 * KIB,
            flags=frozenset({"rd", "wr", "mr", "mw", "me", "ac"}),
            name="/srv/with space/a (deleted)",
            page_size=4096,
        ),
    )


@pytest.mark.parametrize(
    "name",
    ["", "[heap]", "[anon: my arena]", "/a\\012b", "anon_inode:kvm-vcpu:0", "/memfd:x", "/ü"],
)
def test_names_stay_as_the_kernel_writes_them(name: str) -> None:
    assert parse(record(4096, 8192, name))[0].name == name


def test_hugetlb_guard_regions_and_protection_keys() -> None:
    keyed = record(0x1000, 0x2000).replace("VmFlags", "ProtectionKey:         5\nVmFlags")
    huge = record(
        0x200000, 0x400000, "/anon_hugepage (deleted)", flags="rd ht ", KernelPageSize=2048
    )
    guarded = record(0x400000, 0x401000, flags="rd gu ")
    none = record(0x500000, 0x501000, flags="")
    found = parse(keyed + huge + guarded + none)
    assert [one.page_size for one in found] == [4096, 2 << 20, 4096, 4096]
    assert ["ht" in one.flags for one in found] == [False, True, False, False]
    assert "gu" in found[2].flags
    assert found[3].flags == frozenset()


def test_the_vsyscall_page_is_nobodys() -> None:
    assert parse(record(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000, "[vsyscall]")) == ()


def test_older_layouts_parse_alike() -> None:
    old = record(4096, 8192, fields=(*OLD, *REST), Rss=4, Referenced=4)
    assert parse(old) == parse(record(4096, 8192, Rss=4, Referenced=4))


def test_what_was_merged_while_reading_counts_once() -> None:
    text = record(0, 0x2000, Rss=8) + record(0x2000, 0x3000, Rss=4) + record(0, 0x5000, Rss=20)
    assert [(one.start, one.end, one.rss) for one in parse(text)] == [(0, 0x5000, 20 * KIB)]


def test_a_record_without_a_field_borrows_none_from_the_next() -> None:
    lacking = record(0, 4096, fields=tuple(f for f in NEW if f != "Swap"))
    assert [one.start for one in parse(lacking + record(4096, 8192, Swap=4))] == [4096]


@given(st.integers(min_value=0))
def test_cut_anywhere_whole_records_remain(cut: int) -> None:
    text = "".join(record(i * 8192, i * 8192 + 4096, "/x y", Rss=i) for i in range(4)).encode()
    whole = parse_smaps(text)
    cut %= len(text) + 1
    found = parse_smaps(text[:cut])
    assert found == whole[: len(found)]
    assert len(found) == text[:cut].count(b"VmFlags: rd wr mr mw me ac \n")


_SIZES = st.lists(st.integers(0, 1 << 32), min_size=len(REST), max_size=len(REST))
_NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), max_size=20
).filter(lambda name: name == name.strip())


@given(st.lists(st.tuples(_SIZES, _NAMES), max_size=5))
def test_every_number_is_exact(mappings: list[tuple[list[int], str]]) -> None:
    rows = [dict(zip(REST, sizes, strict=True)) for sizes, _ in mappings]
    text = "".join(
        record(i << 20, (i << 20) + 4096, name, sizes=row)
        for i, (row, (_, name)) in enumerate(zip(rows, mappings, strict=True))
    )
    found = parse(text)
    assert [one.name for one in found] == [name for _, name in mappings]
    for one, row in zip(found, rows, strict=True):
        assert one.referenced == row["Referenced"] * KIB
        assert one.shared == (row["Shared_Clean"] + row["Shared_Dirty"]) * KIB
        huge = row["AnonHugePages"] + row["ShmemPmdMapped"] + row["FilePmdMapped"]
        assert (one.huge, one.swap) == (huge * KIB, row["Swap"] * KIB)


@given(st.binary(max_size=300))
def test_rubbish_is_no_mapping(text: bytes) -> None:
    assert all(one.start <= one.end for one in parse_smaps(text))


def test_our_own_smaps_agree_with_our_maps() -> None:
    with open("/proc/self/smaps", "rb") as file:
        text = file.read()
    found = parse_smaps(text)
    heads = [line for line in text.splitlines() if line[:1] in b"0123456789abcdef"]
    assert len(found) == len([line for line in heads if b"[vsyscall]" not in line])
    assert sum(one.rss for one in found) > 1 << 20
    assert any(one.start <= id(text) < one.end for one in found)
    assert all(one.page_size == os.sysconf("SC_PAGE_SIZE") for one in found)


def test_a_thousand_mappings_are_parsed_in_milliseconds() -> None:
    text = "".join(record(i << 13, (i << 13) + 4096, "/x", Rss=4) for i in range(1100)).encode()
    took = []
    for _ in range(5):
        began = time.thread_time()
        parse_smaps(text)
        took.append(time.thread_time() - began)
    assert min(took) < 0.05  # 7 ms on a quiet machine
