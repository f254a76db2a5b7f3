# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: `--lab-part 7.3` keeps the guest tests of that kernel, `not 7.3` all others.

The two parts together are the lab: tests that boot guests themselves belong to the second.
"""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lab-part", required=True, help="KERNEL or 'not KERNEL'")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    word: str = config.getoption("--lab-part")
    kernel = word.removeprefix("not ")
    wanted = [item for item in items if _is_on(item, kernel) == (word == kernel)]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


def _is_on(item: pytest.Item, kernel: str) -> bool:
    # Late: pytest rewrites that plugin's asserts only if it is the first to import it.
    from tests.vm.plugin import GuestItem

    return isinstance(item, GuestItem) and item.boot.kernel == kernel
