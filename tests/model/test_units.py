"""Quantities: exact, unambiguous, and readable back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damos_agent.model.errors import UnitError
from damos_agent.model.units import (
    ULONG_MAX,
    format_duration,
    format_share,
    format_size,
    parse_duration_us,
    parse_share_bp,
    parse_size_bytes,
)

ulongs = st.integers(0, ULONG_MAX)


@given(ulongs)
def test_durations_read_back(us: int) -> None:
    assert parse_duration_us(format_duration(us)) == us


@given(ulongs)
def test_sizes_read_back(size: int) -> None:
    assert parse_size_bytes(format_size(size)) == size


@given(st.integers(0, 10_000))
def test_shares_read_back(bp: int) -> None:
    assert parse_share_bp(format_share(bp)) == bp


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_duration_us, parse_size_bytes, parse_share_bp):
        try:
            value = parse(text)
        except UnitError:
            continue
        assert 0 <= value <= ULONG_MAX


@given(st.integers(0, 10**6), st.sampled_from(["K", "k", "M", "m", "G", "T", "KB", "MB", "gb"]))
def test_ambiguous_sizes_are_refused_with_the_binary_unit(number: int, unit: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_size_bytes(f"{number}{unit}")

    assert caught.value.hint == f"write {unit[0].upper()}iB"


@pytest.mark.parametrize(
    ("text", "us"),
    [("5s", 5_000_000), ("100ms", 100_000), ("1.5s", 1_500_000), ("2m", 120_000_000),
     ("2min", 120_000_000), ("1h", 3_600_000_000), ("0s", 0), ("7us", 7)],
)  # fmt: skip
def test_durations(text: str, us: int) -> None:
    assert parse_duration_us(text) == us


@pytest.mark.parametrize(
    "text", ["5", "-5s", "5S", "1e3s", "s", "", "5 sec", "0.1us", "99999999999d"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(UnitError):
        parse_duration_us(text)


@pytest.mark.parametrize(("text", "bp"), [("0%", 0), ("0.1%", 10), ("2.5%", 250), ("100%", 10_000)])
def test_shares(text: str, bp: int) -> None:
    assert parse_share_bp(text) == bp


@pytest.mark.parametrize("text", ["5", "0.001%", "101%", "-1%", "%"])
def test_no_shares(text: str) -> None:
    with pytest.raises(UnitError):
        parse_share_bp(text)
