# SPDX-License-Identifier: Apache-2.0
"""Tests that end badly, for test_harness.py; named so that pytest does not collect them."""

import os
from pathlib import Path

import pytest


def test_before() -> None:
    assert os.getpid() > 1


def test_skipped() -> None:
    pytest.skip("on purpose")


def test_failing() -> None:
    assert len("a") == len("ab")


def test_panic() -> None:
    assert "DAMOS_LAB_KERNEL" in os.environ
    Path("/proc/sysrq-trigger").write_text("c", encoding="ascii")


def test_after() -> None:
    assert os.getpid() > 1
