"""The kernel where it can, else user space, and no flapping."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from damos_agent.algo.choose import (
    FIRST_HOLD_US,
    MOST_HOLD_US,
    Backend,
    Seat,
    Verdicts,
    choose,
    hold_us,
)
from damos_agent.model.policy import BackendChoice

AUTO = BackendChoice.AUTO
SECOND = 1_000_000
GOOD, NO_KERNEL, NOTHING = Verdicts(), Verdicts("no DAMON"), Verdicts("no DAMON", "no probe")


def test_auto_prefers_the_kernel() -> None:
    assert choose(AUTO, GOOD, None, 1) == Seat(Backend.KERNEL)


def test_auto_falls_back_and_says_why() -> None:
    assert choose(AUTO, NO_KERNEL, None, 1) == Seat(Backend.USERSPACE, "no DAMON")


def test_where_neither_can_both_reasons_are_told() -> None:
    seat = choose(AUTO, NOTHING, None, 1)

    assert seat.backend is Backend.NONE
    assert seat.reason == "kernel: no DAMON; user space: no probe"


def test_a_forced_backend_is_never_exchanged() -> None:
    assert choose(BackendChoice.KERNEL, NO_KERNEL, None, 1).backend is Backend.NONE
    assert choose(BackendChoice.USERSPACE, GOOD, None, 1).backend is Backend.USERSPACE
    assert choose(BackendChoice.USERSPACE, NOTHING, None, 1) == Seat(Backend.NONE, "no probe")


def test_it_returns_only_after_the_kernel_was_usable_for_a_while() -> None:
    seat = choose(AUTO, NO_KERNEL, None, 1)
    seat = choose(AUTO, GOOD, seat, 10 * SECOND)
    assert seat.backend is Backend.USERSPACE
    assert seat.returns_at_us == 10 * SECOND + FIRST_HOLD_US

    assert choose(AUTO, GOOD, seat, 39 * SECOND).backend is Backend.USERSPACE
    assert choose(AUTO, GOOD, seat, 40 * SECOND).backend is Backend.KERNEL


def test_the_wait_starts_over_when_the_kernel_goes_away_again() -> None:
    seat = choose(AUTO, GOOD, choose(AUTO, NO_KERNEL, None, 1), 10 * SECOND)
    seat = choose(AUTO, NO_KERNEL, seat, 20 * SECOND)
    seat = choose(AUTO, GOOD, seat, 35 * SECOND)

    assert choose(AUTO, GOOD, seat, 60 * SECOND).backend is Backend.USERSPACE


def test_it_moves_back_at_once_when_user_space_is_lost() -> None:
    seat = choose(AUTO, NO_KERNEL, None, 1)

    assert choose(AUTO, Verdicts("", "no probe"), seat, 2).backend is Backend.KERNEL


def test_each_loss_doubles_the_wait() -> None:
    assert [hold_us(n) // SECOND for n in range(4)] == [30, 60, 120, 240]
    assert hold_us(10_000) == MOST_HOLD_US


@given(st.lists(st.booleans(), min_size=2, max_size=600))
def test_moves_become_ever_rarer_however_the_kernel_flickers(usable: list[bool]) -> None:
    """Looked at every second: n returns take at least 30·(2ⁿ - 1) s."""
    seat, returns = None, 0
    for second, works in enumerate(usable, start=1):
        before = seat
        seat = choose(AUTO, GOOD if works else NO_KERNEL, seat, second * SECOND)
        was_outside = before is not None and before.backend is Backend.USERSPACE
        returns += was_outside and seat.backend is Backend.KERNEL
    assert 30 * (2**returns - 1) <= len(usable)
