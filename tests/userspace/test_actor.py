"""Actions on a process that is not there: order, pieces, the gate, the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damos_agent.algo.actor import Applied
from damos_agent.algo.region import Region
from damos_agent.host.madvise import Advice, Advised
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.policy import Action, AddressRange
from damos_agent.userspace.actions import check_schemes, note, supported
from damos_agent.userspace.actor import ProcessActor
from damos_agent.userspace.effect import HUGE_BYTES, PAGE_BYTES
from tests.userspace.acting import MIB, PROCESS, FakeWorld, fake_actor, fake_world, pages_of

START = 64 * MIB
WHOLE = Region(START, START + 16 * MIB)


def go(actor: ProcessActor, region: Region = WHOLE, budget_us: int = 10_000_000) -> Applied:
    actor.begin_round(budget_us)
    return actor.apply(0, PROCESS, region)


@pytest.mark.parametrize("action", ["nohugepage", "lru_prio", "lru_deprio"])
def test_unsupported_actions_say_so_at_once(action: str) -> None:
    """With what a user can do."""
    assert "use a kernel with DAMON" in supported(action)
    with pytest.raises(UnsupportedError, match=action):
        fake_actor(fake_world(), action)


def test_supported_actions() -> None:
    """All others have a counterpart; hugepage's is another one."""
    refused = {action for action in Action if supported(action)}
    assert refused == {Action.NOHUGEPAGE, Action.LRU_PRIO, Action.LRU_DEPRIO}
    assert "collapse" in note("hugepage")
    assert supported("fly")
    with pytest.raises(UnsupportedError, match="no NUMA node"):
        check_schemes([SchemeSpec("migrate_hot")])


def test_stat_does_nothing() -> None:
    """And leaves the age alone."""
    assert go(fake_actor(fake_world(), "stat")) == Applied(0, 0, touched=False)


def test_of_a_region_only_the_parts_are_acted_on() -> None:
    """One trial stands for all of them, and what it clears is just those."""
    world = fake_world()
    actor = fake_actor(world)
    parts = [
        AddressRange(START, START + 4 * MIB),
        AddressRange(START + 8 * MIB, START + 16 * MIB),
    ]
    actor.begin_round(10_000_000)
    first = actor.apply(0, PROCESS, WHOLE, None, parts)
    assert first.tried == first.applied == 30 * PAGE_BYTES
    world.now_ns += 3_000_000_000
    actor.begin_round(10_000_000)
    actor.apply(0, PROCESS, WHOLE, None, parts)
    assert world.swapped == pages_of(parts)


def test_cold_memory_goes_after_its_canaries() -> None:
    """First one percent, then, after the wait, the rest in pieces of 2 MiB with pauses."""
    world = fake_world()
    actor = fake_actor(world)
    first = go(actor)
    assert (first.applied, first.touched) == (40 * PAGE_BYTES, False)
    again = go(actor)
    assert (again.applied, again.touched) == (0, False)
    world.wait(2)
    world.calls.clear()
    world.slept_ns, begin = 0, world.now_ns
    rest = go(actor)
    assert (rest.applied, rest.touched) == (16 * MIB - 40 * PAGE_BYTES, True)
    assert not world.present
    assert all(sum(r.end - r.start for r in ranges) <= 2 * MIB for _, ranges in world.calls)
    assert world.slept_ns >= rest.took_ns
    assert rest.took_ns == world.now_ns - begin - world.slept_ns


def test_hot_memory_loses_its_canaries_only() -> None:
    """More than 5 % back: reported as touched, so that its age starts over."""
    world = fake_world()
    actor = fake_actor(world)
    go(actor)
    world.touch(sorted(world.swapped)[:3])
    world.wait(2)
    assert (found := go(actor)).applied == 0
    assert found.touched
    assert world.paged_out <= 40 * PAGE_BYTES
    assert actor._gate.book.stats.cancelled_bytes == 16 * MIB
    calls = len(world.calls)
    assert go(actor).touched  # backing off
    assert len(world.calls) == calls


def test_a_deadline_keeps_the_rest_for_later() -> None:
    """The evidence lasts, and the age, until all is done."""
    world = fake_world()
    actor = fake_actor(world)
    go(actor)
    world.wait(2)
    rounds = [go(actor, budget_us=5_000) for _ in range(8)]
    assert not rounds[0].touched
    assert 0 < rounds[0].applied < 8 * MIB
    assert rounds[-1].touched
    assert not world.present
    assert actor._gate.book.stats.sent == 40


def test_no_round_no_action() -> None:
    """Outside a round, or after its end, nothing is touched."""
    world = fake_world()
    actor = fake_actor(world)
    assert actor.apply(0, PROCESS, WHOLE) == Applied(0, 0, touched=False, tried=0)
    assert go(actor, budget_us=0) == Applied(0, 0, touched=False, tried=0)
    assert not world.calls


def test_canaries_that_are_back_at_once_are_hot() -> None:
    """Not taken for pages that cannot be paged out: their frames tell."""
    world = fake_world()
    world.hot = set(world.present)
    actor = fake_actor(world)
    assert go(actor).applied == 40 * PAGE_BYTES
    world.wait(2)
    assert go(actor).applied == 0
    stats = actor._gate.book.stats
    assert (stats.sent, stats.came_back, stats.no_effect) == (40, 40, 0)
    assert stats.cancelled_bytes == 16 * MIB


def test_pages_that_cannot_go_do_not_hold_up_the_others() -> None:
    """A fifth is pinned, say: that is no sign of use. What is hot for certain still is."""
    world = fake_world()
    pages = sorted(world.present)
    world.stuck = set(pages[::5])
    actor = fake_actor(world)
    go(actor)
    world.wait(2)
    go(actor)
    assert world.present == world.stuck
    stats = actor._gate.book.stats
    assert (stats.came_back, stats.no_effect, stats.cancelled_bytes) == (0, 0, 0)


def test_where_frames_are_not_shown_what_is_here_counts_as_back() -> None:
    """Without CAP_SYS_ADMIN nobody can tell whether it ever went."""
    world = fake_world()
    world.frames_shown = False
    world.hot = set(sorted(world.present)[::5])
    actor = fake_actor(world)
    go(actor)
    world.wait(2)
    go(actor)
    stats = actor._gate.book.stats
    assert stats.came_back > 0
    assert stats.cancelled_bytes == 16 * MIB
    assert len(world.present) > 4000


def test_without_swap_it_says_so_and_backs_off() -> None:
    """Not one call a round for ever."""
    world = fake_world()
    world.swap = False
    actor = fake_actor(world)
    assert go(actor).applied == 0
    stats = actor._gate.book.stats
    assert (stats.no_effect, stats.last_reason, stats.sent) == (1, "no swap space", 0)
    calls = len(world.calls)
    for _ in range(5):
        world.wait(1)
        go(actor)
    assert len(world.calls) == calls


def test_swap_that_runs_out_meanwhile() -> None:
    """Some pieces in vain end the turn, and the range is blocked."""
    world = fake_world()
    actor = fake_actor(world)
    go(actor)
    world.wait(2)
    world.swap = False
    world.calls.clear()
    assert go(actor).applied == 0
    assert len(world.calls) == 4
    assert actor._gate.book.stats.last_reason == "no swap space"


def test_huge_pages_are_tried_whole() -> None:
    """No canary splits a huge page."""
    world = fake_world()
    world.huge = set(range(START, START + 16 * MIB, HUGE_BYTES))
    actor = fake_actor(world)
    assert go(actor).applied == HUGE_BYTES
    (_, (only,)) = world.calls[0]
    assert only.start % HUGE_BYTES == 0
    world.touch([min(world.swapped)])
    world.wait(2)
    assert go(actor).touched
    assert world.paged_out < HUGE_BYTES


@pytest.mark.parametrize("huge", [True, False])
def test_what_went_as_a_canary_is_not_tried_again(huge: bool) -> None:
    """Of huge pages that may be half of a region: the quota would pay for it twice."""
    world = fake_world()
    world.huge = set(range(START, START + 16 * MIB, HUGE_BYTES)) if huge else set()
    actor = fake_actor(world)
    first = go(actor)
    assert first.tried == first.applied > 0
    world.wait(2)
    rest = go(actor)
    assert rest.touched
    assert rest.tried == rest.applied == WHOLE.size - first.applied


def test_nor_when_the_time_runs_out_between() -> None:
    world = fake_world()
    actor = fake_actor(world)
    tried, applied = 0, 0
    for _ in range(200):
        done = go(actor, budget_us=2_000)
        tried += WHOLE.size if done.tried is None else done.tried
        applied += done.applied
        if done.touched:
            break
        world.wait(2)
    assert len(world.calls) > 4
    assert tried == applied == WHOLE.size


def test_what_has_gone_lately_is_not_tried_again() -> None:
    """Untouched, it soon matches again; other memory shall have the quota."""
    world = fake_world()
    actor = fake_actor(world)
    go(actor)
    world.wait(2)
    assert go(actor).touched
    world.wait(10)
    again = go(actor)
    assert (again.tried, again.applied, again.touched) == (0, 0, True)
    world.wait(60)
    assert go(actor).tried is None


def test_exec_and_exit_end_it() -> None:
    """Its regions are of memory it no longer has; `follow` with `renewed` starts anew."""
    world = fake_world()
    actor = fake_actor(world)
    go(actor)
    world.wait(2)
    calls = len(world.calls)
    world.image = 2
    assert go(actor) == Applied(0, 0, touched=False, tried=0)
    assert go(actor) == Applied(0, 0, touched=False, tried=0)
    assert (len(world.calls), world.descriptors) == (calls, 0)
    actor.follow([PROCESS], renewed=[PROCESS])
    assert go(actor).applied == 40 * PAGE_BYTES
    world.alive = False
    assert not go(actor).touched
    assert world.descriptors == 0


def test_a_death_in_the_middle_keeps_what_was_done() -> None:
    """The bytes before it count."""
    world = fake_world()
    actor = fake_actor(world)
    go(actor)

    def die_after_six(pidfd: int, advice: Advice, ranges: Sequence[AddressRange]) -> Advised:
        world.alive = ranges[0].start < START + 6 * MIB
        return world.advise(pidfd, advice, ranges)

    actor._effects = replace(actor._effects, advise=die_after_six)
    world.wait(2)
    found = go(actor)
    assert 5 * MIB < found.applied <= 6 * MIB
    assert not found.touched
    assert world.descriptors == 0


def test_ourselves_never() -> None:
    """Paging out the agent would stop the agent."""
    world = fake_world()
    actor = fake_actor(world)
    actor.begin_round(1_000_000)
    assert actor.apply(0, Placement(1, 5_000), WHOLE) == Applied(0, 0, touched=False, tried=0)
    assert not world.calls


def test_a_wrong_start_time_is_another_process() -> None:
    """The pid was given anew."""
    world = fake_world()
    actor = fake_actor(world)
    actor.begin_round(1_000_000)
    assert actor.apply(0, Placement(700, 4_999), WHOLE) == Applied(0, 0, touched=False, tried=0)
    assert (len(world.calls), world.descriptors) == (0, 0)


MAPS = """\
4000000-4100000 rw-p 00000000 00:00 0 [heap]
4100000-4200000 rw-s 00000000 00:01 77 /dev/shm/x
4200000-4300000 r--p 00000000 00:00 0 [vvar]
4300000-4400000 r-xp 00000000 00:00 0 [vdso]
4400000-4500000 rw-p 00000000 00:00 0
4500000-4600000 rw-p 00000000 00:00 0
"""
FLAGS = ["rd wr", "rd wr sh", "rd pf", "rd ex", "rd wr lo", "rd wr"]


def test_only_private_unlocked_memory_is_touched() -> None:
    """Shared, locked, the kernel's own: left out. smaps is read only if something is locked."""
    world = FakeWorld(maps=MAPS)
    actor = fake_actor(world, "cold")
    world.present = set(range(START, START + 8 * MIB, PAGE_BYTES))
    assert go(actor).applied == 3 * MIB
    world.wait(5)
    world.status = "VmLck:\t 1024 kB\n"
    world.smaps = "".join(
        f"{line}\nRss: 4 kB\nVmFlags: {flags} \n"
        for line, flags in zip(MAPS.splitlines(), FLAGS, strict=True)
    )
    assert go(actor).applied == 2 * MIB


def test_hugepage_is_collapse_of_whole_aligned_ranges() -> None:
    """Edges are left."""
    world = fake_world()
    actor = fake_actor(world, "hugepage")
    found = go(actor, Region(START + PAGE_BYTES, START + 8 * MIB - PAGE_BYTES))
    assert found.applied == 2 * HUGE_BYTES
    assert {advice for advice, _ in world.calls} == {Advice.COLLAPSE}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4095), st.integers(1, 2000)), min_size=1, max_size=10),
    st.integers(0, 1000),
)
def test_wrong_claims_about_hot_memory_are_bounded(
    claims: list[tuple[int, int]], seed: int
) -> None:
    """Whatever is claimed cold: a process that uses all its memory loses a percent, or 8 pages."""
    world = fake_world()
    actor = fake_actor(world, seed=seed)
    for start, wanted in claims:
        pages = min(wanted, 4096 - start)
        region = Region(START + start * PAGE_BYTES, START + (start + pages) * PAGE_BYTES)
        for _ in range(3):
            go(actor, region)
            assert world.paged_out <= max(8, pages // 100) * PAGE_BYTES
        world.touch(set(world.swapped))
        world.wait(2)
