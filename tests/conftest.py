# SPDX-License-Identifier: Apache-2.0
"""Tests marked `guest` run in lab guests, on every kernel asked for (docs/lab.md)."""

import os

import pytest

pytest_plugins = ("tests.vm.plugin",)

if "DAMOS_LAB_KERNEL" not in os.environ:
    # Not in guests, where importing it takes seconds.
    from hypothesis import settings

    # No deadlines: machines are shared, and a test says nothing about speed. In CI a change is
    # judged by the same examples as the change before.
    settings.register_profile("quiet", deadline=None, derandomize="CI" in os.environ)
    settings.load_profile("quiet")

UNPROVEN = (
    "tests/guest/test_examples.py::test_hot_memory_moves_up_the_lru_lists_and_idle_memory_down",
)
"""Tests that have not been seen to pass as they are now. They run in `make test`, but do not decide
in CI what lands; each leaves this list once it has been seen to pass on a quiet machine."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In CI, leave out what is unproven, and say so by pytest's count of deselected tests."""
    if "CI" not in os.environ or "DAMOS_LAB_KERNEL" in os.environ:
        return
    left_out = [item for item in items if item.nodeid.startswith(UNPROVEN)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
