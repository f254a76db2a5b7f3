"""The book of canaries: what may be paged out, by address, whatever regions do meanwhile."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.ranges import intersect, subtract, total_bytes, union
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.canary_book import CanaryBook
from damos_agent.userspace.canary_state import CanaryLimits, State
from damos_agent.userspace.intervals import IntervalMap
from tests.userspace.acting import LIMITS, PROCESS

PAGE = 4096
S = 1_000_000


def span(start: int, end: int) -> AddressRange:
    return AddressRange(start * PAGE, end * PAGE)


def send(book: CanaryBook, where: AddressRange, now_us: int, pages: int = 20) -> None:
    book.send(PROCESS, [where], [(where.start + i * PAGE,) for i in range(pages)], now_us)


def states(book: CanaryBook, where: AddressRange, now_us: int) -> dict[State, int]:
    found = {s: total_bytes(book.find(PROCESS, [where], s, now_us)) // PAGE for s in State}
    return {state: pages for state, pages in found.items() if pages}


def judge(book: CanaryBook, where: AddressRange, back: int, now_us: int) -> bool:
    return all(book.judge(PROCESS, t, back, now_us) for t in book.trials(PROCESS, [where], now_us))


SPANS = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda p: span(p[0], p[0] + p[1]))


@given(st.lists(st.tuples(st.lists(SPANS, min_size=1, max_size=3), st.integers(0, 3))))
def test_interval_map_is_a_dictionary_of_pages(
    puts: list[tuple[list[AddressRange], int]],
) -> None:
    """The last value put holds; intervals are ascending, disjoint, and joined."""
    intervals: IntervalMap[int] = IntervalMap()
    model: dict[int, int] = {}
    for ranges, value in puts:
        intervals.put(ranges, value)
        model.update({p: value for r in ranges for p in range(r.start, r.end, PAGE)})
    held = list(intervals)
    assert {p: v for r, v in held for p in range(r.start, r.end, PAGE)} == model
    for (one, a), (other, b) in pairwise(held):
        assert one.end < other.start or (one.end == other.start and a != b)
    where = span(10, 30)
    expected = [h for h in held if h[0].start < where.end and where.start < h[0].end]
    assert intervals.overlapping([where]) == expected


def test_nothing_is_cleared_before_its_time() -> None:
    """Canaries are looked at after the wait, and then open what they stand for."""
    book = CanaryBook(LIMITS)
    send(book, span(0, 100), S)
    assert not book.trials(PROCESS, [span(0, 100)], 3 * S - 1)
    assert states(book, span(0, 100), 3 * S) == {State.PENDING: 100}
    assert judge(book, span(0, 100), 1, 3 * S)  # 5 % are not more than 5 %
    assert states(book, span(0, 200), 3 * S) == {State.CLEARED: 100}


def test_canaries_are_in_flight_until_they_are_judged() -> None:
    book, where = CanaryBook(LIMITS), span(0, 100)
    send(book, where, 0)
    assert book.in_flight(S) == 20
    assert not judge(book, where, 20, 3 * S)
    assert (book.in_flight(3 * S), book.stats.back_pages) == (0, 20)
    other = span(200, 300)
    huge = [tuple(range(other.start, other.start + 10 * PAGE, PAGE))] * 2
    book.send(PROCESS, [other], huge, 4 * S)
    assert book.in_flight(4 * S) == 20
    assert book.in_flight(4 * S + LIMITS.wait_us + LIMITS.evidence_us) == 0
    assert not judge(book, other, 1, 7 * S)
    assert book.stats.back_pages == 30


def test_evidence_ends() -> None:
    """What was cold a minute ago has to prove it again."""
    book = CanaryBook(LIMITS)
    send(book, span(0, 100), 0)
    judge(book, span(0, 100), 0, 2 * S)
    assert states(book, span(0, 100), 62 * S - 1) == {State.CLEARED: 100}
    assert states(book, span(0, 100), 62 * S) == {}
    assert book.unknown(PROCESS, [span(0, 100)], 62 * S) == (span(0, 100),)


def test_regions_split_and_merge() -> None:
    """A verdict is about the addresses the canaries were drawn from, not about regions."""
    book = CanaryBook(LIMITS)
    send(book, span(0, 100), 0)
    assert judge(book, span(40, 60), 0, 2 * S)
    assert states(book, span(90, 300), 2 * S) == {State.CLEARED: 10}
    assert book.unknown(PROCESS, [span(90, 300)], 2 * S) == (span(100, 300),)
    book.done(PROCESS, [span(95, 200)])
    assert states(book, span(0, 300), 2 * S) == {State.CLEARED: 95, State.DONE: 5}


def test_hot_memory_is_blocked_for_twice_as_long_each_time() -> None:
    """Back-off doubles up to a bound, and starts over when long forgotten."""
    book = CanaryBook(CanaryLimits(wait_us=2 * S, backoff_max_us=50 * S))
    where, now, waits = span(0, 100), 0, []
    for _ in range(5):
        send(book, where, now)
        now += 2 * S
        assert not judge(book, where, 2, now)
        begin = now
        while states(book, where, now):
            now += S
        waits.append((now - begin) // S)
    assert waits == [10, 20, 40, 50, 50]
    assert book.stats.came_back == 10
    assert book.stats.cancelled_bytes == 500 * PAGE
    now += 200 * S
    send(book, where, now)
    judge(book, where, 20, now + 2 * S)
    assert not states(book, where, now + 12 * S)


def test_cleared_memory_that_comes_back_later_is_cancelled_too() -> None:
    """Canaries are looked at again while their range is being paged out; only the rest is saved."""
    book = CanaryBook(LIMITS)
    send(book, span(0, 100), 0)
    judge(book, span(0, 100), 0, 2 * S)
    book.done(PROCESS, [span(0, 50)])
    assert not judge(book, span(0, 100), 5, 4 * S)
    assert states(book, span(0, 100), 4 * S) == {State.DONE: 50, State.BLOCKED: 50}
    assert book.stats.cancelled_bytes == 50 * PAGE


def test_no_effect_backs_off() -> None:
    """A machine without swap is not asked each round."""
    book = CanaryBook(LIMITS)
    book.no_effect(PROCESS, [span(0, 100)], "no swap space", 0)
    assert states(book, span(0, 100), 9 * S) == {State.BLOCKED: 100}
    book.no_effect(PROCESS, [span(0, 100)], "no swap space", 10 * S)
    assert states(book, span(0, 100), 29 * S) == {State.BLOCKED: 100}
    assert (book.stats.no_effect, book.stats.last_reason) == (2, "no swap space")


def test_why_nothing_went_is_told_until_something_goes() -> None:
    """One small mapping that stays is no news while the rest goes; swap that is full is."""
    book = CanaryBook(LIMITS)
    book.no_effect(PROCESS, [span(0, 10)], "pages stay resident", 0)
    send(book, span(20, 100), 1 * S)
    assert book.stats.last_reason == ""
    book.no_effect(PROCESS, [span(0, 10)], "no swap space", 2 * S)
    assert book.stats.last_reason == "no swap space"


def test_forget() -> None:
    """New memory, new book."""
    book = CanaryBook(LIMITS)
    send(book, span(0, 100), 0)
    book.forget(PROCESS)
    assert len(book) == 0


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.integers(1, 700)), max_size=60))
def test_the_rate_is_kept_over_all_time(steps: list[tuple[int, int]]) -> None:
    """500 pages a second, a second's worth ahead, and a huge page into debt."""
    book = CanaryBook(LIMITS)
    now = sent = 0
    for pause, pages in steps:
        now += pause
        if book.allowance(now) > 0:
            send(book, span(0, 1000), now, pages)
            sent += pages
            assert sent <= 500 + now * 500 / S + 700
    assert book.stats.sent == sent


ACTS = st.tuples(st.sampled_from(["send", "hot", "cold", "done", "vain", "wait"]), SPANS)


@given(st.lists(ACTS, max_size=60))
def test_every_address_has_one_state(acts: list[tuple[str, AddressRange]]) -> None:
    """States and the unknown cover each address once; only judged memory is ever cleared."""
    book, now = CanaryBook(LIMITS), 0
    everything = span(0, 100)
    proven: tuple[AddressRange, ...] = ()
    for act, where in acts:
        if act == "wait":
            now += where.start // PAGE * S
        elif act == "send":
            send(book, where, now, 4)
            proven = subtract(proven, [where])
        elif act in ("hot", "cold"):
            for trial in book.trials(PROCESS, [where], now):
                if book.judge(PROCESS, trial, 4 * (act == "hot"), now):
                    proven = union([*proven, *trial.ranges])
        elif act == "done":
            book.done(PROCESS, [where])
        else:
            book.no_effect(PROCESS, [where], "no swap space", now)
        parts = [book.find(PROCESS, [everything], state, now) for state in State]
        parts.append(book.unknown(PROCESS, [everything], now))
        assert sum(map(total_bytes, parts)) == 100 * PAGE
        cleared = book.find(PROCESS, [everything], State.CLEARED, now)
        assert intersect(cleared, proven) == union(cleared)


def test_the_book_does_not_grow_for_ever() -> None:
    """Stale marks are dropped as new ones come."""
    book = CanaryBook(LIMITS)
    for i in range(5000):
        send(book, span(2 * i, 2 * i + 1), i * S, 1)
    assert len(book) < 500
