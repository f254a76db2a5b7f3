"""Searching command lines, also those made to hurt."""

from __future__ import annotations

import re
import signal
import threading
import time
from types import FrameType

import pytest

from damos_agent.host.pattern import PATTERN_SECONDS, SEARCH_SECONDS, PatternSearch

EVIL = r"(a+)+$"
HURT = "a" * 60 + "!"


def test_patterns_are_searched_not_matched_whole() -> None:
    search = PatternSearch()
    assert search.search(r"-Xmx\d+g", "java -Xmx8g App")
    assert not search.search(r"^App", "java -Xmx8g App")


def test_a_catastrophic_search_is_given_up_and_counts_as_no_match() -> None:
    search = PatternSearch()
    before = time.process_time()
    assert not search.search(EVIL, HURT)
    assert time.process_time() - before < SEARCH_SECONDS * 10
    assert search.given_up(EVIL) == 1
    assert search.search(EVIL, "aaa")
    assert search.given_up(EVIL) == 1


def test_a_pattern_has_one_budget_for_a_round() -> None:
    """However many hurting command lines there are, the round ends."""
    search = PatternSearch()
    before = time.process_time()
    for number in range(200):
        assert not search.search(EVIL, HURT + str(number))
    assert time.process_time() - before < PATTERN_SECONDS * 5
    assert search.given_up(EVIL) == 200
    assert search.search("b", "abc")


def test_what_was_never_tried_is_tried_in_the_next_round() -> None:
    """Hurting command lines delay an honest match by a round; they cannot prevent it."""
    search = PatternSearch()
    hurting = [HURT + str(number) for number in range(4)]
    assert not any(search.search(EVIL, text) for text in hurting)
    assert not search.search(EVIL, "aaaa")
    search.begin_round()
    assert not any(search.search(EVIL, text) for text in hurting)
    assert search.search(EVIL, "aaaa")


def test_answers_are_kept_from_round_to_round_while_asked_for() -> None:
    search = PatternSearch()
    search.search(EVIL, HURT)
    for _ in range(3):
        search.begin_round()
        before = time.process_time()
        assert not search.search(EVIL, HURT)
        assert time.process_time() - before < SEARCH_SECONDS / 2
        assert search.given_up(EVIL) == 0
    search.begin_round()
    search.begin_round()
    search.search(EVIL, HURT)
    assert search.given_up(EVIL) == 1


def test_handlers_and_timers_of_others_are_put_back() -> None:
    def own(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError("a timer was left armed")

    before = signal.signal(signal.SIGVTALRM, own)
    try:
        search = PatternSearch()
        search.search("a", "b")
        search.search(EVIL, HURT)
        assert signal.getsignal(signal.SIGVTALRM) is own
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_another_thread_may_search_too() -> None:
    search, found = PatternSearch(), []
    thread = threading.Thread(target=lambda: found.append(search.search("b+", "abbb")))
    thread.start()
    thread.join()
    assert found == [True]


def test_no_regular_expression_is_an_error() -> None:
    with pytest.raises(re.error):
        PatternSearch().search("(", "x")
