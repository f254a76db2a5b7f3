"""Every example of policies/ does on a real kernel what its comment says.

The files are used as they are shipped but for a few named fields: `mode: enforce`, who the target
is, how long memory must be idle, since no test can wait for minutes, and quotas of time.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest

from damos_agent.model.status import PolicyStatus
from tests.guest.examples import (
    ENFORCE,
    SMALL_MACHINE,
    cached_mib,
    disk,
    endless,
    example,
    fill_to,
    free_share,
    kept_in_use,
    make_file,
    nested_cgroup,
    outcomes,
    read_file,
    settle,
    start_as,
    two_lists,
)
from tests.guest.measure import active_share, meminfo, range_nodes, range_use
from tests.guest.rig import Rig, Workload, sysfs, wait_for
from tests.vm.guestlib import cgroup

# In virtual time, waiting costs nothing and a busy host changes nothing.
MACHINE = {"numa_nodes": 2, "memory_mib": 1024, "virtual_time": True}
everywhere = pytest.mark.guest(**MACHINE, apart="examples")
# Guests of their own, whose memory nobody has used before: where physical memory is sorted or
# moved, what earlier tests left of order in it decides how long that takes.
sorting = pytest.mark.guest(**MACHINE, apart="sorting")
tiering = {**MACHINE, "apart": "tiering"}
newest = pytest.mark.guest(kernels=("7.3",), **tiering)
before_goals = pytest.mark.guest(kernels=("6.12",), **tiering)


pytestmark = pytest.mark.usefixtures("warm")


_T = TypeVar("_T")


def _wait_seen(what: str, read: Callable[[], _T], enough: Callable[[_T], bool]) -> None:
    """Wait until what `read` gives is enough; what it gave last goes into the complaint."""
    seen: deque[_T] = deque(maxlen=5)

    def look() -> bool:
        seen.append(read())
        return enough(seen[-1])

    try:
        wait_for(what, look)
    except AssertionError as error:
        raise AssertionError(f"{error}; last {list(seen)}") from None


# In use in every sampling interval: what is looked at thrice in a hundred milliseconds differs too
# little from what is idle for regions to end where it does.
BUSY = ("--pause", "0.002")


def _is_paged_out(work: Workload) -> bool:
    """But for what lies in one region with memory in use."""
    start, end = work.cold
    return range_use(work.pid, work.cold).swap > 0.8 * (end - start) / 2**20


def _applied(rig: Rig, name: str, mib: int, index: int = 0) -> list[dict[str, Any]]:
    return [e for e in outcomes(rig, name, index) if e["sz_applied"] > mib << 20]


@everywhere
def test_idle_memory_of_a_service_a_group_and_a_unit_is_paged_out(rig: Rig) -> None:
    """proactive-reclaim, container-reclaim, unit-reclaim: the cold parts go, the hot ones stay."""
    age = {"schemes.0.pattern.age.min": "3s"}
    with ExitStack() as stack:
        pod = stack.enter_context(
            nested_cgroup("kubepods.slice/kubepods-besteffort.slice/pod1.slice")
        )
        unit = stack.enter_context(nested_cgroup("system.slice/gitlab-puma.service"))
        works = {
            "proactive-reclaim": start_as(rig, (4, 48), "--uid", "65534", name="memcached"),
            "container-reclaim": start_as(rig, (4, 48), group=pod),
            "unit-reclaim": start_as(rig, (4, 48), group=unit),
        }
        bystander = rig.workload(1, 16)
        user = {"target.process.user": "nobody"}
        for name in works:
            extra = user if name == "proactive-reclaim" else {}
            rig.put(name, example(name, {**ENFORCE, **age, **extra}))
        rig.start()
        for name, work in works.items():
            assert rig.wait_state(name, "active").targets == 1
            wait_for(f"{name}: its cold memory", partial(_is_paged_out, work))
        for name, work in works.items():
            hot = range_use(work.pid, work.hot)
            assert hot.swap < 1, name
            assert hot.rss > 3, name
            told = wait_for(f"{name}: an outcome", partial(_applied, rig, name, 38))
            assert told[-1]["mode"] == "enforce"
        assert bystander.swap_mib() == 0
        rig.close()


@everywhere
def test_idle_page_cache_is_dropped_and_anonymous_memory_stays(rig: Rig) -> None:
    """physical-reclaim-file-cache."""
    with disk(256) as place:
        backup, index = make_file(place / "backup", 192), make_file(place / "index", 8)
        # What is in use lies apart from what is not: with the few regions of so small a machine
        # one page in use would keep tens of MiB around it.
        read_file(index)
        work = rig.workload(4, 48)
        with kept_in_use(index):
            read_file(backup)
            assert cached_mib(backup) > 180
            swap_free = meminfo()["SwapFree"]
            # What the filter spares counts as well, so that the shipped quota goes to one eighth of
            # this machine a second: whose turn it is would be luck.
            whole = {"schemes.0.quota.size": "1GiB"}
            edits = {**ENFORCE, **SMALL_MACHINE, **whole, "schemes.0.pattern.age.min": "4s"}
            rig.put("cache", example("physical-reclaim-file-cache", edits))
            rig.start()
            rig.wait_state("physical-reclaim-file-cache", "active")
            # Most of either: a region has up to 16 MiB, and what is not in use may lie in one with
            # what is. What goes with its neighbours though it is in use is soon read again.
            _wait_seen(
                "the backup's pages to go", partial(cached_mib, backup), lambda mib: mib <= 96
            )
            wait_for("the index to be there", lambda: cached_mib(index) > 4, 10)
        assert range_use(work.pid, work.cold).rss > 47
        assert swap_free - meminfo()["SwapFree"] < 1
        rig.close()


@everywhere
def test_pressure_steers_how_much_is_paged_out(rig: Rig) -> None:
    """physical-reclaim-psi: more and more while nobody waits, nothing once somebody does.

    By the kernel's tuner on 7.3, by the agent's on 6.12.
    """
    name = "physical-reclaim-psi"
    # What is taken after three seconds is needed again, and the guard would have its say first.
    alone = {"guard.refaults": "max", "guard.memory_psi": "max", "guard.io_psi": "max"}
    edits = {**ENFORCE, **SMALL_MACHINE, **alone, "schemes.0.pattern.age.min": "3s"}
    rig.put(name, example(name, edits))
    rig.start()
    rig.wait_state(name, "active")
    filler = fill_to(rig, 0.3)

    def grown() -> list[int]:
        return [e["effective_bytes"] or 0 for e in outcomes(rig, name)]

    wait_for("a quota above 64 KiB", lambda: _effective(rig, name) > 65536)
    wait_for("a quota that grows", lambda: any(0 < a < b <= 5 * a for a, b in pairwise(grown())))
    assert max(grown()) <= 256 << 20
    wait_for("a page-out", lambda: filler.swap_mib() > 0)
    goal = outcomes(rig, name)[-1]["goals"][0]
    assert (goal["metric"], goal["target"]) == ("memory_psi_some", 10)
    assert goal["current"] is not None

    # Somebody waits for memory all the time.
    with cgroup("squeezed") as squeezed:
        (squeezed / "memory.high").write_text("8M")
        program = "x = bytearray(24 << 20)\nwhile True: x[::4096] = bytes(len(x) // 4096)"
        command = f"echo $$ >{squeezed}/cgroup.procs; exec {sys.executable} -c '{program}'"
        with endless(command):
            wait_for("pressure above the goal", lambda: _pressure(rig, name) > 20)
            wait_for("the quota to fall", lambda: _effective(rig, name) <= 4096)
    rig.close()


def _pressure(rig: Rig, name: str) -> int:
    told = outcomes(rig, name)
    return told[-1]["goals"][0]["current"] or 0 if told else 0


def _effective(rig: Rig, name: str) -> int:
    told = outcomes(rig, name)
    return told[-1]["effective_bytes"] or 0 if told else 0


@everywhere
def test_hot_memory_gets_huge_pages_and_cold_memory_does_not(rig: Rig) -> None:
    """huge-pages-for-hot-memory, with huge pages for those who ask only."""
    thp = Path("/sys/kernel/mm/transparent_hugepage")
    (thp / "enabled").write_text("madvise")
    (thp / "khugepaged/scan_sleep_millisecs").write_text("200")
    work = start_as(rig, (16, 48), "--uid", "65534", name="postgres")
    assert range_use(work.pid, work.hot).huge == 0
    name = "huge-pages-for-hot-memory"
    edits = {
        **ENFORCE,
        "target.process.user": "nobody",
        "schemes.1.pattern.age.min": "4s",
    }
    rig.put(name, example(name, edits))
    rig.start()
    rig.wait_state(name, "active")
    wait_for("huge pages", lambda: range_use(work.pid, work.hot).huge >= 10)
    wait_for("cold memory", lambda: range_use(work.pid, work.cold).flags.get("nh", 0) > 40)
    cold = range_use(work.pid, work.cold)
    # Until DAMON has found where the hot memory ends, regions reach some pages too far.
    assert cold.huge <= 8
    assert cold.rss > 47
    assert range_use(work.pid, work.hot).flags.get("nh", 0) < 4
    rig.close()


@sorting
def test_hot_memory_moves_up_the_lru_lists_and_idle_memory_down(rig: Rig) -> None:
    """lru-sort: within its watermarks, nothing of it is reclaim."""
    name = "lru-sort"
    with disk(256) as place, two_lists():
        once_hot = make_file(place / "once-hot", 64)
        for _ in range(3):
            read_file(once_hot)
        # More than a region, of which there are few.
        work = rig.workload(32, 8, *BUSY)
        fill_to(rig, 0.12)
        assert 0.05 < free_share() < 0.15
        assert meminfo()["Active(file)"] > 60
        assert active_share(work.pid, work.hot) < 0.2
        edits = {**ENFORCE, **SMALL_MACHINE, "schemes.1.pattern.age.min": "3s"}
        rig.put(name, example(name, edits))
        rig.start()
        rig.wait_state(name, "active")
        # In whatever order, and hot pages that share a region with idle ones go down again.
        seen = {"idle down": False, "hot up": False}

        def look() -> dict[str, bool]:
            seen["idle down"] |= meminfo()["Active(file)"] < 32
            seen["hot up"] |= active_share(work.pid, work.hot) > 0.5
            return seen

        _wait_seen("pages on other lists", look, lambda both: all(both.values()))
        for index in (0, 1):
            wait_for(f"scheme {index} told", partial(_applied, rig, name, 4, index))
        assert range_use(work.pid, work.cold).rss > 7
        assert cached_mib(once_hot) > 60
        rig.close()


# So little memory, so much of it in use: with the shipped goal there is nothing to tune.
TUNED = {
    "monitoring.intervals_goal.max_sampling_interval": "20ms",
    "monitoring.intervals_goal.access": "40%",
}


@newest
def test_hot_memory_is_promoted_and_idle_memory_demoted(rig: Rig) -> None:
    """tiering-promote and tiering-demote at work together, each on its own node."""
    tiers = _tiers(rig)
    edits = {**ENFORCE, **SMALL_MACHINE, **TUNED}
    rig.put("promote", example("tiering-promote", edits))
    # A node this small never gets down to half a percent: the kernel's own reclaim is earlier.
    down = {
        "schemes.0.pattern.age.min": "3s",
        "schemes.0.quota.goals.0.node_mem_free.target": "90%",
    }
    rig.put("demote", example("tiering-demote", {**edits, **down}))
    rig.start()
    for name in ("tiering-promote", "tiering-demote"):
        rig.wait_state(name, "active")
    _check_tiers(*tiers)

    told = outcomes(rig, "tiering-demote")[-1]
    goal = told["goals"][0]
    assert goal["metric"] == "node_mem_free"
    assert goal["target"] == 9000
    measured = 10_000 * meminfo(0)["MemFree"] / meminfo(0)["MemTotal"]
    assert abs(goal["current"] - measured) < 1500

    # The kernel has chosen its intervals, and the age follows them, but not every little move.
    status = wait_for("tuned intervals", lambda: _tuned(rig, "tiering-demote"))
    pattern = f"{status.slot}/contexts/0/schemes/0/access_pattern/age/min"
    expected = math.ceil(3_000_000 / status.aggr_us)
    wait_for("ages in new counts", lambda: abs(int(sysfs(pattern)) - expected) * 3 <= expected)
    rig.close()


def _tuned(rig: Rig, name: str) -> PolicyStatus | None:
    now = rig.policy(name)
    return now if now and now.aggr_us not in (0, 100_000) else None


@before_goals
def test_before_node_goals_tiering_says_so_and_migrates_without_them(rig: Rig) -> None:
    """tiering-promote and tiering-demote need 6.16; their schemes alone do not."""
    tiers = _tiers(rig)
    for name in ("promote", "demote"):
        rig.put(name, example(f"tiering-{name}", ENFORCE))
    rig.start()
    for name in ("tiering-promote", "tiering-demote"):
        assert "6.1" in rig.wait_state(name, "unsupported").reason
    without = {
        **ENFORCE,
        **SMALL_MACHINE,
        "monitoring.intervals_goal": None,
        "schemes.0.quota.goals": None,
    }
    rig.put("promote", example("tiering-promote", without))
    rig.put("demote", example("tiering-demote", {**without, "schemes.0.pattern.age.min": "3s"}))
    for name in ("tiering-promote", "tiering-demote"):
        rig.wait_state(name, "active")
    _check_tiers(*tiers)
    rig.close()


def _tiers(rig: Rig) -> tuple[Workload, Workload, Workload]:
    """On the slow node some of both, on the fast node one that is idle and one that is in use.

    Regions have up to 16 MiB on so small a machine: what is idle must be more than that, and
    what is in use must lie apart from it.
    """
    slow = rig.workload(16, 24, "--nodes", "1", *BUSY)
    idle = rig.workload(1, 64, "--nodes", "0")
    busy = rig.workload(16, 1, "--nodes", "0", *BUSY)
    assert range_nodes(slow.pid, slow.hot) == {1: 16}
    assert range_nodes(idle.pid, idle.cold) == {0: 64}
    return slow, idle, busy


def _check_tiers(slow: Workload, idle: Workload, busy: Workload) -> None:
    wait_for("promotion", lambda: range_nodes(slow.pid, slow.hot).get(0, 0) > 8)
    _wait_seen(
        "demotion", lambda: range_nodes(idle.pid, idle.cold).get(0, 0), lambda mib: mib <= 32
    )
    assert range_nodes(slow.pid, slow.cold).get(1, 0) >= 12
    # What goes with its neighbours though it is in use is promoted again.
    wait_for("hot memory on the fast node", lambda: range_nodes(busy.pid, busy.hot).get(0, 0) > 8)


@everywhere
def test_the_working_set_is_told_and_nothing_is_touched(rig: Rig) -> None:
    """working-set: how much is in use and how much idle, near the truth."""
    work = rig.workload(24, 64, *BUSY)
    name = "working-set"
    edits = {
        "target.process.cmdline": r"\btests\.guest\.workload 24 64\b",
        "schemes.1.pattern.age": {"min": "3s", "max": "10m"},
    }
    rig.put(name, example(name, edits))
    rss = work.rss_mib()
    rig.start()
    rig.wait_state(name, "observing")

    def told(index: int) -> float:
        status = rig.policy(name)
        matched = status.schemes[index].matched_bytes if status and status.schemes else None
        return (matched or 0) / 2**20

    wait_for("both parts", lambda: 16 < told(0) < 36 and 52 < told(1) < 100)
    settle(2)
    wait_for("the same again", lambda: 16 < told(0) < 36 and 52 < told(1) < 100)
    assert told(2) == 0
    assert work.rss_mib() == pytest.approx(rss, abs=1)
    assert work.swap_mib() == 0
    assert all(e["sz_applied_delta"] == 0 or e["action"] == "stat" for e in outcomes(rig, name))
    rig.close()
