"""The probe `writes`: soft-dirty pages, where the kernel has them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.pagescan import CHUNK_BYTES, Page, scan_bytes
from damos_agent.host.roots import Roots
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import ProbeChoice
from damos_agent.userspace.ladder import Ladder
from damos_agent.userspace.writes import WRITES, WritesProbe, WrittenSampler, decline_writes
from tests.userspace.child import MIB, child

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="watching others needs root")


def test_the_rung_is_opt_in_and_sees_writes_only() -> None:
    assert WRITES.sees == "w"
    assert WRITES.experimental


def test_written_pages_are_told_and_read_ones_are_not() -> None:
    if reason := decline_writes(Roots()):
        pytest.skip(reason)
    with child(16 * MIB) as target:
        sampler = WrittenSampler(Roots(), target.placement)
        for written in (4, 0, 16):
            sampler.clear()
            target.do("hot")
            target.do(f"write {written}")
            found = {(one.start, one.end): one.referenced for one in sampler.read()}
            assert found[target.hot] == written * MIB
            assert found[target.cold] == 0
        sampler.close()


def test_who_else_forgets_writes_is_found() -> None:
    if reason := decline_writes(Roots()):
        pytest.skip(reason)
    with child(16 * MIB) as target:
        sampler = WrittenSampler(Roots(), target.placement)
        sampler.clear()
        target.do("write 16")
        sampler.read()
        sampler.read()
        assert sampler.foreign_clears == 0
        Path(f"/proc/{target.pid}/clear_refs").write_text("4")
        sampler.read()
        assert sampler.foreign_clears == 1
        sampler.close()


def reason_of(ladder: Ladder) -> str:
    return next(rung.reason for rung in ladder.rungs() if rung.name == "writes")


def test_the_ladder_tries_it_for_who_names_it() -> None:
    """By its self-test, and with its reason; nobody else gets it."""
    ladder = Ladder(RealFilesystem(), Roots())
    try:
        with suppress(UnsupportedError):
            ladder.choose(ProbeChoice.AUTO)
        ladder.climb()
        assert reason_of(ladder).startswith("sees writes only: used only by policies that name it")
        if declined := decline_writes(Roots()):
            with pytest.raises(UnsupportedError, match=r"CONFIG_MEM_SOFT_DIRTY|Linux 6\.7"):
                ladder.choose(ProbeChoice.WRITES)
            assert declined in reason_of(ladder)
        else:
            assert isinstance(ladder.choose(ProbeChoice.WRITES), WritesProbe)
            assert reason_of(ladder) == ""
    finally:
        ladder.close()


def test_a_self_test_that_fails_drops_it() -> None:
    ladder = Ladder(RealFilesystem(), Roots(proc="/nowhere"))
    with pytest.raises(UnsupportedError, match="writes: the child of the self-test"):
        ladder.choose(ProbeChoice.WRITES)
    assert "the child of the self-test" in reason_of(ladder)
    assert ladder.probes == {}


def test_the_self_test_leaves_nothing_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    first = decline_writes(Roots())
    assert decline_writes(Roots()) == first
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_proc_the_self_test_declines() -> None:
    assert decline_writes(Roots(proc="/nowhere")) != ""


@pytest.mark.parametrize("command", ["exit"])
def test_the_gone_write_nothing(command: str) -> None:
    with child(MIB) as target:
        sampler = WrittenSampler(Roots(), target.placement)
        target.tell(command)
        target.process.wait()
        with pytest.raises(ProcessLookupError):
            sampler.clear()
        with pytest.raises(ProcessLookupError):
            sampler.read()
        sampler.close()


@pytest.mark.parametrize("huge", [False, True])
def test_scanning_counts_each_byte_over_the_edges_of_steps(huge: bool) -> None:
    size = CHUNK_BYTES * 2 + 6 * MIB
    with child(size, huge=huge) as target:
        with open(f"/proc/{target.pid}/pagemap", "rb", buffering=0) as pagemap:
            found = scan_bytes(pagemap.fileno(), *target.hot, Page.PRESENT)
            whole = scan_bytes(pagemap.fileno(), *target.hot, Page.HUGE)
            nothing = scan_bytes(pagemap.fileno(), 4096, 1 << 30, Page.PRESENT)
            unknown = scan_bytes(pagemap.fileno(), *target.hot, Page(1 << 40))
        if found is None:
            pytest.skip("PAGEMAP_SCAN is missing: since 6.7")
        assert (found, nothing, unknown) == (size, 0, None)
        assert whole is not None
        assert whole >= size - 4 * MIB if huge else whole == 0


def test_scanning_an_open_file_that_is_no_pagemap_tells_nothing() -> None:
    with open("/dev/null", "rb") as null:
        assert scan_bytes(null.fileno(), 0, 4096, Page.PRESENT) is None
