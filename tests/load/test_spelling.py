# SPDX-License-Identifier: Apache-2.0
"""Layouts as words."""

import pytest

from tests.load.spelling import number, parse


@pytest.mark.parametrize(
    "text",
    [
        "Nothing:total=1M",
        "HotCold:total=1M",
        "HotCold:total=1M,hot_start=1M,hot_bytes=4K",
        "HotCold:total=1M,hot_start=100,hot_bytes=4K",
        "HotCold:total=ten",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    """With a ValueError, which argparse shows."""
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_numbers_have_units() -> None:
    """Binary ones."""
    assert [number(text) for text in ("3", "64K", "2m", "1G")] == [3, 65536, 2 << 20, 1 << 30]
