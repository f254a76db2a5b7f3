"""Actions on real processes of this machine, with swap space made for it and taken away again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import pytest

from damos_agent.algo.region import Region
from damos_agent.host.madvise import Advice, Advised, advise
from damos_agent.model.policy import AddressRange
from tests.userspace.machine import (
    LONG_US,
    actor_of,
    mib,
    missing_for_swap,
    region,
    residency,
    rounds,
    start_child,
    zram_swap,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acting on other processes takes root")


@pytest.fixture(scope="module")
def _swap() -> Iterator[None]:
    if missing := missing_for_swap():
        pytest.skip(missing)
    with zram_swap(mib(512)):
        yield


@pytest.mark.usefixtures("_swap")
def test_cold_memory_is_paged_out_and_read_back() -> None:
    """`applied` is what pagemap says has gone."""
    with start_child(mib(48), (mib(32), mib(48))) as child:
        actor = actor_of()
        found = rounds(actor, child, region(child, 0, mib(32)))
        now = residency(child, 0, mib(32))
        assert now.swapped >= mib(31)
        assert abs(sum(found) - now.swapped) <= mib(0.1)
        assert residency(child, mib(32), mib(48)).present == mib(16)
        actor.close()


@pytest.mark.usefixtures("_swap")
def test_wrong_claims_on_hot_memory_cost_a_percent() -> None:
    """The proof that the gate bounds the harm: a hot region is claimed cold, for 3 s."""
    with start_child(mib(48), (0, mib(32))) as child:
        actor = actor_of()
        most = total = 0
        for _ in range(15):
            actor.begin_round(LONG_US)
            total += actor.apply(0, child.placement, region(child, 0, mib(32))).applied
            most = max(most, residency(child, 0, mib(32)).swapped)
            time.sleep(0.2)
        stats = actor._gate.book.stats
        assert most <= total <= mib(0.32)
        assert stats.came_back > 0
        assert stats.cancelled_bytes == mib(32)
        print(f"\nhot 32 MiB claimed cold: {total} bytes ever out, {stats}")
        actor.close()


@pytest.mark.usefixtures("_swap")
def test_a_hot_eighth_is_enough_to_cancel() -> None:
    """A region misplaced over an edge: one percent of its pages finds the hot part."""
    with start_child(mib(64), (0, mib(8))) as child:
        actor = actor_of()
        rounds(actor, child, region(child, 0, mib(64)))
        assert residency(child, 0, mib(64)).swapped <= mib(0.64)
        assert actor._gate.book.stats.cancelled_bytes == mib(64)
        actor.close()


@pytest.mark.usefixtures("_swap")
def test_huge_pages_go_whole() -> None:
    """The canary is one huge page, and the others stay huge until it has proved cold."""
    with start_child(mib(32), flags="huge") as child:
        if residency(child, 0, mib(32)).huge < mib(32):
            pytest.skip("no huge pages to be had here")
        actor = actor_of()
        actor.begin_round(LONG_US)
        first = actor.apply(0, child.placement, region(child, 0, mib(32)))
        assert (first.applied, first.touched) == (mib(2), False)
        assert residency(child, 0, mib(32)).huge == mib(30)
        time.sleep(0.31)
        assert sum(rounds(actor, child, region(child, 0, mib(32)))) == mib(30)
        actor.close()


@pytest.mark.usefixtures("_swap")
def test_killed_while_being_acted_on() -> None:
    """What was done counts; nothing is raised; no descriptor is left."""
    with start_child(mib(32)) as child:
        calls = 0

        def kill_at_last(pidfd: int, advice: Advice, ranges: Sequence[AddressRange]) -> Advised:
            nonlocal calls
            calls += 1
            if calls == 8:
                child.process.kill()
                child.process.wait()
            return advise(pidfd, advice, ranges)

        actor = actor_of(advise_by=kill_at_last)
        before = len(os.listdir("/proc/self/fd"))
        found = rounds(actor, child, region(child, 0, mib(32)), 3)
        assert mib(2) < sum(found) < mib(16)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("_swap")
def test_exec_between() -> None:
    """The new program's memory is not touched, though pid and start time are the same."""
    with start_child(mib(16)) as child:
        actor = actor_of()
        actor.begin_round(LONG_US)
        actor.apply(0, child.placement, region(child, 0, mib(16)))
        assert child.ask("exec") == "new"
        time.sleep(0.31)
        actor.begin_round(LONG_US)
        found = actor.apply(0, child.placement, Region(1 << 16, (1 << 47) - 4096))
        assert (found.applied, found.touched) == (0, False)
        actor.close()


@pytest.mark.usefixtures("_swap")
def test_swapped_memory_is_read_ahead() -> None:
    """willneed counts what was in swap before."""
    with start_child(mib(16)) as child:
        actor = actor_of()
        rounds(actor, child, region(child, 0, mib(16)))
        swapped = residency(child, 0, mib(16)).swapped
        reader = actor_of("willneed")
        reader.begin_round(LONG_US)
        found = reader.apply(0, child.placement, region(child, 0, mib(16)))
        assert found.applied == swapped > mib(15)


@pytest.mark.usefixtures("_swap")
def test_mapping_stays_fast_while_memory_is_paged_out() -> None:
    """Pieces of 2 MiB with pauses: printed; only a gross failure fails on a shared machine."""
    with start_child(mib(128), flags="map") as child:
        actor = actor_of()
        time.sleep(0.5)
        child.ask("worst")
        time.sleep(0.5)
        calm_us = int(child.ask("worst"))
        begin = time.monotonic()
        took_ns = applied = 0
        while time.monotonic() < begin + 20:
            actor.begin_round(LONG_US)
            found = actor.apply(0, child.placement, region(child, 0, mib(128)))
            took_ns, applied = took_ns + found.took_ns, applied + found.applied
            if found.touched:
                break
            time.sleep(0.1)
        busy_us = int(child.ask("worst"))
        print(
            f"\nworst mmap+touch+munmap: calm {calm_us} us, during pageout {busy_us} us; "
            f"{applied >> 20} MiB in {took_ns / 1e6:.0f} ms of work"
        )
        assert busy_us < 250_000
        actor.close()
