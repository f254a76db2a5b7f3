# SPDX-License-Identifier: Apache-2.0
"""Loads as processes: what they tell, how they end, and what else they do on demand."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.load import smaps
from tests.load.layout import PAGE, HotCold, MovingWindow
from tests.load.memory import KINDS, placed
from tests.load.run import PROJECT, start

MIB = 1 << 20
LAYOUT = HotCold(4 * MIB, MIB, MIB)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_all_is_resident_when_it_says_so(kind: str) -> None:
    """And at the same address in every run."""
    with start(LAYOUT, kind) as load, start(LAYOUT, kind) as other:
        assert load.told["resident"] == load.told["size"] == LAYOUT.total
        assert load.base == other.base
        assert load.placement().pid == load.pid
        assert load.placement().start_ticks <= other.placement().start_ticks


def test_it_tells_what_is_hot_and_how_fast_it_is() -> None:
    """In absolute addresses; each round touches each hot page once."""
    with start(LAYOUT, "anon", "--pause", "0.001", "--mmap-latency", every_s=0.05) as load:
        wait_for(lambda: len(load.lines()) > 3)
        assert load.hot() == [(load.base + MIB, load.base + 2 * MIB)]
        assert load.cold() == [
            (load.base, load.base + MIB),
            (load.base + 2 * MIB, load.base + 4 * MIB),
        ]
        line = load.lines()[-1]
        assert line.accesses == line.rounds * MIB // PAGE
        assert 0 < load.speed().accesses_per_s < load.speed().accesses_per_cpu_s
        assert load.speed().mmap_worst_us > 0


def test_a_window_is_where_it_was_in_the_last_seconds() -> None:
    """Rates of a moving window, by the rounds that were reported."""
    layout = MovingWindow(4 * MIB, MIB, MIB, hold=5)
    with start(layout, "anon", "--pause", "0.01", every_s=0.05) as load:
        wait_for(lambda: len(load.lines()) > 5)
        rates = [(one.end - one.start) * one.rate for one in load.truth(0.1)]
        assert sum(rates) == pytest.approx(MIB)


def test_it_ends_with_its_parent() -> None:
    """Even when that had no time to say so."""
    code = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen([sys.executable, '-S', '-m', 'tests.load', sys.argv[1]],"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    words = [sys.executable, "-c", code, "HotCold:total=64K,hot_start=0,hot_bytes=4K"]
    done = subprocess.run(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    wait_for(lambda: not alive(int(done.stdout)))


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_exec_keeps_the_process_and_replaces_its_memory() -> None:
    """The same pid and start time; progress counts anew."""
    with start(LAYOUT, "anon", "--exec-after", "0.3", every_s=0.05) as load:
        before, began_s = load.placement(), load.told["at_s"]
        load.after_exec()
        assert load.placement() == before
        assert load.told["at_s"] > began_s
        wait_for(lambda: len(load.lines()) > 1)
        assert load.lines()[0].rounds == 1


def test_children_map_the_same_pages() -> None:
    """They are no more private then, as a probe must notice; writing would part them again."""
    with start(LAYOUT, "anon", "--sharers", "2", "--stepped") as load:
        assert all(alive(pid) for pid in load.told["sharers"])
        assert shared(load.pid, load.parts()) == LAYOUT.total
        load.step(1)
        assert shared(load.pid, load.parts()) == LAYOUT.total
        load.kill()
        wait_for(lambda: not any(alive(pid) for pid in load.told["sharers"]))


def shared(pid: int, parts: list[tuple[int, int]]) -> int:
    mappings = smaps.read(pid)
    return sum(smaps.sums(mappings, parts, f"Shared_{kind}") for kind in ("Clean", "Dirty"))


def test_a_fork_storm_leaves_the_memory_alone() -> None:
    """Many children, no zombies, and no page of ours becomes shared."""
    with start(LAYOUT, "anon", "--fork-storm", "20", "--stepped") as load:
        load.step(30)
        assert shared(load.pid, load.parts()) == 0
        children = Path(f"/proc/{load.pid}/task/{load.pid}/children")
        wait_for(lambda: not children.exists() or not children.read_text())
        assert load.step(1) == 31


def test_many_mappings_and_locked_memory() -> None:
    """As many more as asked for; all parts locked."""
    with start(LAYOUT, "anon", "--stepped") as plain:
        usual = len(smaps.read(plain.pid))
    with start(LAYOUT, "anon", "--stepped", "--mappings", "500", "--mlock") as load:
        mappings = smaps.read(load.pid)
        assert 500 <= len(mappings) - usual <= 510
        assert smaps.sums(mappings, load.parts(), "Locked") == LAYOUT.total


def test_it_ends_by_itself_after_some_seconds() -> None:
    """In good order."""
    with start(LAYOUT, "anon", "--seconds", "0.1") as load:
        assert load.process.wait(60) == 0


def test_a_bad_command_line_is_told() -> None:
    """Not waited for."""
    with pytest.raises(AssertionError, match="ended with 2"), start(LAYOUT, "anon", "--what"):
        pass


def test_parts_are_placed_with_gaps_of_huge_pages() -> None:
    """So a part keeps its place within a huge page."""
    parts = placed([(0, MIB), (MIB, 4 * MIB)], 2 * MIB, 1)
    assert [(part.index, part.size) for part in parts] == [(2 * MIB, MIB), (5 * MIB, 3 * MIB)]


def test_it_imports_little() -> None:
    """Starting is slow in emulated guests: nothing from outside the standard library."""
    code = "import sys, tests.load.worker as w; print(*sys.modules)"
    words = [sys.executable, "-S", "-c", code]
    done = subprocess.run(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "damos_agent", "pytest", "random", "subprocess", "tempfile"}
