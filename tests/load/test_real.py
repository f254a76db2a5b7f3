# SPDX-License-Identifier: Apache-2.0
"""Real loads against what the kernel says: `Referenced` of smaps after clear_refs.

The loads do their rounds one by one, on demand, so that nothing depends on time.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load import smaps
from tests.load.layout import PAGE, HotCold, Stairs, Zigzag
from tests.load.load import Load
from tests.load.memory import HUGE
from tests.load.run import start, start_many
from tests.load.skewed import Skewed
from tests.load.truth import Layout

MIB = 1 << 20
FEW = 4 * PAGE
HOT_COLD = HotCold(16 * MIB, 4 * MIB, 6 * MIB)

needs_clear_refs = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/proc/self/clear_refs").exists(),
    reason="needs root and a kernel with CONFIG_PROC_PAGE_MONITOR",
)


def referenced(load: Load, rounds: int = 1) -> list[tuple[int, int, int]]:
    """(start, end, bytes referenced) of each of its parts, over so many rounds."""
    Path(f"/proc/{load.pid}/clear_refs").write_text("1")
    load.step(rounds)
    mappings = smaps.read(load.pid)
    return [(*part, smaps.sums(mappings, [part], "Referenced")) for part in load.parts()]


def expected(load: Load, rounds: range) -> Iterator[int]:
    """What of each part the rounds touch."""
    regions = load.truth_of(rounds, len(rounds))
    for start_, end in load.parts():
        clipped = ((max(start_, r.start), min(end, r.end), r.rate) for r in regions)
        yield sum((last - first) * int(rate) for first, last, rate in clipped if first < last)


def check_rounds(load: Load, count: int, rounds: int = 1) -> None:
    """Several times, what is referenced is what the truth says."""
    for number in range(count):
        found = [seen for _, _, seen in referenced(load, rounds)]
        now = range(number * rounds, (number + 1) * rounds)
        assert found == pytest.approx(list(expected(load, now)), abs=FEW)


@needs_clear_refs
@pytest.mark.parametrize("options", [(), ("--gap", "1M"), ("--gap", "1M", "--hole")])
@pytest.mark.parametrize("write", [(), ("--write",)])
@pytest.mark.parametrize("kind", ["anon", "shared", "private"])
def test_hot_and_cold(kind: str, write: tuple[str, ...], options: tuple[str, ...]) -> None:
    """In one mapping or three, of each kind."""
    with start(HOT_COLD, kind, "--stepped", "--flush", *write, *options) as load:
        assert len(load.parts()) == (3 if options else 1)
        check_rounds(load, 2)


@needs_clear_refs
@pytest.mark.parametrize("rounds", [1, 2])
def test_stairs(rounds: int) -> None:
    """Each step at its time, and when several rounds are looked at together."""
    with start(Stairs(16 * MIB, 4), "anon", "--stepped", "--flush", "--gap", "1M") as load:
        check_rounds(load, 8, rounds)


@needs_clear_refs
@pytest.mark.parametrize(
    "layout",
    [Zigzag(8 * MIB, 2 * MIB, MIB), Skewed(8 * MIB, 200), Skewed(8 * MIB, 200, 1.1, 16 * PAGE)],
)
def test_wandering_and_scattered(layout: Layout) -> None:
    """In one mapping, whose sum is compared."""
    with start(layout, "anon", "--stepped", "--flush") as load:
        check_rounds(load, 4)


@needs_clear_refs
def test_files_on_disk(tmp_path: Path) -> None:
    """Two processes that share one: each has accessed bits of its own."""
    with start_many(
        2, HOT_COLD, "shared", "--stepped", "--flush", "--gap", "1M", "--file", f"{tmp_path}/f"
    ) as loads:
        check_rounds(loads[0], 2)
        Path(f"/proc/{loads[1].pid}/clear_refs").write_text("1")
        check_rounds(loads[0], 0)
        check_rounds(loads[1], 1)


@needs_clear_refs
def test_huge_pages() -> None:
    """One accessed bit for 2 MiB: a hot MiB makes all of it look accessed."""
    with start(HotCold(16 * MIB, 5 * MIB, 4 * MIB), "thp", "--stepped", "--flush") as load:
        if load.told["huge"] != 16 * MIB:
            pytest.skip("the machine gave no huge pages")
        assert load.base % HUGE == 0
        check_rounds(load, 2)
        hot = [r for r in load.truth_of(range(1)) if r.rate]
        assert [(r.start - load.base, r.end - load.base) for r in hot] == [(4 * MIB, 10 * MIB)]
