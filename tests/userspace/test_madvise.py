"""process_madvise's vectors, and its stopping at what it does not like."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.ranges import total_bytes, union
from damos_agent.host.madvise import IOV_MAX, RETRIES, Advice, advise, plan_calls
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange

PAGE = 4096
MIB2 = 2 << 20


def ranges_of(*pairs: tuple[int, int]) -> list[AddressRange]:
    return [AddressRange(a * PAGE, b * PAGE) for a, b in pairs]


RANGES = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1500)), max_size=12).map(
    lambda pairs: union(AddressRange(a * PAGE, (a + n) * PAGE) for a, n in pairs)
)


@given(RANGES, st.integers(1, 600), st.integers(1, 8))
def test_calls_cover_the_ranges_once_and_keep_to_their_size(
    ranges: tuple[AddressRange, ...], pages: int, most: int
) -> None:
    """Nothing twice, nothing left out, no call larger than asked."""
    calls = list(plan_calls(ranges, pages * PAGE, most))
    flat = [r for call in calls for r in call]
    assert union(flat) == ranges
    assert sum(r.end - r.start for r in flat) == total_bytes(ranges)
    assert all(len(call) <= most for call in calls)
    assert all(sum(r.end - r.start for r in call) <= pages * PAGE for call in calls)


@given(RANGES)
def test_calls_never_cut_a_huge_page(ranges: tuple[AddressRange, ...]) -> None:
    """Pieces end at multiples of 2 MiB, or where the range itself does."""
    ends = {r.end for r in ranges}
    for call in plan_calls(ranges, MIB2):
        assert all(r.end % MIB2 == 0 or r.end in ends for r in call)


class Kernel:
    """Refuses `bad` starts with their errno, so many times."""

    def __init__(self, bad: dict[int, list[int]]) -> None:
        self.bad = bad
        self.calls = 0
        self.done: list[AddressRange] = []

    def __call__(self, pidfd: int, advice: Advice, ranges: Sequence[AddressRange]) -> int:
        assert 0 < len(ranges) <= IOV_MAX
        self.calls += 1
        size = 0
        for item in ranges:
            answers = self.bad.get(item.start)
            if answers:
                if size == 0:
                    number = answers[0] if len(answers) == 1 else answers.pop(0)
                    raise OSError(number, "no")
                break
            self.done.append(item)
            size += item.end - item.start
        return size


@given(RANGES, st.data())
def test_bad_ranges_are_left_out_and_the_rest_is_advised(
    ranges: tuple[AddressRange, ...], data: st.DataObject
) -> None:
    """[ok, bad, ok] advises both good ones."""
    starts = [r.start for r in ranges]
    bad = set(data.draw(st.lists(st.sampled_from(starts)))) if starts else set()
    kernel = Kernel({start: [errno.EINVAL] for start in bad})
    advised = advise(3, Advice.COLD, ranges, kernel)
    assert kernel.done == [r for r in ranges if r.start not in bad]
    assert advised.taken == total_bytes(kernel.done)
    assert sum(advised.refused.values()) == total_bytes(ranges) - advised.taken


def test_more_than_iov_max() -> None:
    """A vector is 1024 entries at most."""
    ranges = ranges_of(*((2 * i, 2 * i + 1) for i in range(2500)))
    kernel = Kernel({})
    assert advise(3, Advice.COLD, ranges, kernel).taken == 2500 * PAGE
    assert kernel.calls == 3


def test_eagain_is_tried_again_but_not_for_ever() -> None:
    """Passing trouble passes, or the range is left out."""
    again = [errno.EAGAIN]
    passing = Kernel({0: again * 2 + [0]})
    passing.bad[0] = [errno.EAGAIN, errno.EAGAIN, errno.EINVAL]
    assert advise(3, Advice.COLD, ranges_of((0, 1), (2, 3)), passing).refused == {
        errno.EINVAL: PAGE
    }
    stubborn = Kernel({0: again})
    advised = advise(3, Advice.COLD, ranges_of((0, 1), (2, 3)), stubborn)
    assert (advised.taken, advised.refused) == (PAGE, {errno.EAGAIN: PAGE})
    assert stubborn.calls == RETRIES + 2


def test_a_process_that_has_gone() -> None:
    """ESRCH is no refusal of a range."""
    with pytest.raises(ProcessLookupError):
        advise(3, Advice.COLD, ranges_of((0, 1)), Kernel({0: [errno.ESRCH]}))


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EPERM, "CAP_SYS_NICE and CAP_SYS_PTRACE"), (errno.ENOSYS, "5.10")]
)
def test_what_concerns_all_ranges_is_raised(number: int, words: str) -> None:
    """With what it takes."""
    with pytest.raises(HostError, match=words):
        advise(3, Advice.COLD, ranges_of((0, 1)), Kernel({0: [number]}))


def test_a_call_that_does_nothing_ends() -> None:
    """Zero bytes for a whole vector would be asked for again for ever."""
    advised = advise(3, Advice.COLD, ranges_of((0, 1), (2, 3)), lambda *_: 0)
    assert advised.refused == {errno.EIO: 2 * PAGE}
