"""What else that kernel shows of the probes in user space: soft-dirty pages, and the MGLRU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.pagemap import Pagemap
from damos_agent.host.roots import Roots
from damos_agent.userspace.memcg import CgroupAges, Kind
from damos_agent.userspace.page_idle import PageIdleProbe
from damos_agent.userspace.writes import WrittenSampler, decline_writes
from tests.load.layout import PAGE, HotCold
from tests.load.load import Load
from tests.load.run import start
from tests.vm.guestlib import CGROUPS, cgroup, require_guest, zram_swap

pytestmark = pytest.mark.guest(kernels=("7.3-idle",))

MIB = 1 << 20
LAYOUT = HotCold(64 * MIB, 0, 16 * MIB)
COLD = LAYOUT.total - LAYOUT.hot_bytes
DEBUGFS = Path("/sys/kernel/debug")


@pytest.mark.parametrize("kind", ["anon", "thp"])
def test_soft_dirty_tells_written_memory_from_read(kind: str) -> None:
    assert decline_writes(Roots()) == ""
    for options, expected in ((), 0), (("--write",), LAYOUT.hot_bytes):
        with (
            start(LAYOUT, kind, "--stepped", *options) as load,
            closing(WrittenSampler(Roots(), load.placement())) as sampler,
        ):
            sampler.clear()
            load.step()
            end = load.base + LAYOUT.total
            assert sampler.written_bytes(load.base, end) == expected
            assert sampler.written_bytes(load.base + LAYOUT.hot_bytes, end) == 0


@pytest.fixture
def ages() -> CgroupAges:
    require_guest()
    if not (DEBUGFS / "lru_gen").exists():
        subprocess.run(["mount", "-t", "debugfs", "debugfs", str(DEBUGFS)], check=True)
    found = CgroupAges(RealFilesystem(), Roots())
    assert found.decline() == ""
    return found


@contextmanager
def load_in(directory: Path) -> Iterator[Load]:
    """A load whose memory is that cgroup's."""
    (directory / "cgroup.procs").write_text(str(os.getpid()))
    try:
        with start(LAYOUT, "anon", "--stepped", "--flush") as load:
            yield load
    finally:
        (CGROUPS / "cgroup.procs").write_text(str(os.getpid()))


def anonymous(ages: CgroupAges, path: str) -> list[int]:
    """Bytes of each generation, oldest first."""
    (node,) = ages.read(path)
    return [one.anonymous_bytes for one in node.generations]


def age(ages: CgroupAges, load: Load, path: str, times: int) -> None:
    for _ in range(times):
        load.step()
        assert ages.age(path)


def test_generations_part_the_hot_from_the_cold_and_eviction_takes_the_cold(
    ages: CgroupAges,
) -> None:
    with zram_swap(128), cgroup("aged") as directory, load_in(directory) as load:
        age(ages, load, "/aged", 3)
        *old, second, youngest = anonymous(ages, "/aged")
        others = sum(old) + second + youngest - LAYOUT.total
        assert 0.95 * COLD <= sum(old) <= 1.05 * COLD + others
        assert second + youngest >= 0.95 * LAYOUT.hot_bytes
        assert ages.evict("/aged", Kind.ANONYMOUS, 16 * MIB, 0) == pytest.approx(16 * MIB, rel=0.1)
        with Pagemap(load.pid) as pagemap:
            hot = pagemap.count(load.base, load.base + LAYOUT.hot_bytes)
            everything = pagemap.count(load.base, load.base + LAYOUT.total)
    assert hot.present == LAYOUT.hot_bytes
    assert everything.swapped >= 4 * MIB


def test_without_swap_nobody_looks_at_anonymous_memory(ages: CgroupAges) -> None:
    with cgroup("swapless") as directory, load_in(directory) as load:
        age(ages, load, "/swapless", 3)
        assert max(anonymous(ages, "/swapless")) >= 0.95 * LAYOUT.total


def test_aging_makes_memory_in_use_look_idle_to_page_idle(ages: CgroupAges) -> None:
    """As its `limits` say of reclaim's own aging."""
    probe = PageIdleProbe(RealFilesystem(), Roots())
    with (
        closing(probe),
        zram_swap(128),
        cgroup("stolen") as directory,
        load_in(directory) as load,
        closing(probe.open(load.placement())) as sampler,
    ):
        sampler.arm(range(load.base, load.base + LAYOUT.hot_bytes, 64 * PAGE))
        age(ages, load, "/stolen", 1)
        found = sampler.check()
    assert found.count(False) >= 0.95 * len(found)
