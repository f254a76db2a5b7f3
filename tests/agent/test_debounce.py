"""One reload per burst, and none is put off for ever."""

from hypothesis import given
from hypothesis import strategies as st

from damos_agent.agent.debounce import Debounce


def test_nothing_is_due_without_a_hint() -> None:
    debounce = Debounce(settle_us=10)
    assert debounce.due_us is None
    assert not debounce.due(10**9)


def test_it_waits_for_quiet() -> None:
    debounce = Debounce(settle_us=10).hint(0).hint(8)
    assert not debounce.due(17)
    assert debounce.due(18)
    assert debounce.fired().due_us is None


@given(st.lists(st.integers(0, 50), min_size=1))
def test_a_burst_that_does_not_end_is_answered_after_the_limit(gaps: list[int]) -> None:
    debounce = Debounce(settle_us=100, limit_us=1000)
    now = 0
    for gap in gaps:
        now += gap
        debounce = debounce.hint(now)
    first = gaps[0]
    assert debounce.due_us == min(now + 100, first + 1000)
