# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin for the host's side: tests marked `guest` run in lab guests.

Each test with `@pytest.mark.guest` becomes one test per kernel, `test_name@7.3`, marked `lab`.
The first one that runs boots a guest and runs all selected tests of that kernel in it; the
others take their outcome from the same boot. The marker's keywords choose the machine:
`kernels=("7.3",)`, `memory_mib`, `cpus`, `numa_nodes`, `virtual_time`; tests with the same
machine share a boot. Tests on a kernel that must be built are marked `idle_kernel` too, and left
out, with a word about it, as long as it is not. Inside a guest the plugin does nothing.
"""

import os
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.vm.errors import LabError
from tests.vm.guest import GUEST_VARIABLE
from tests.vm.packages import BUILT, cached
from tests.vm.pytest_guest import SuiteResult, run_pytest
from tests.vm.qemu import Machine
from tests.vm.report import NodeOutcome

_FETCH_MARGIN_S = 600.0


@dataclass(frozen=True, slots=True)
class Boot:
    """Tests with an equal Boot run in the same guest."""

    kernel: str
    machine: Machine


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str


_Suites = dict[Boot, SuiteResult | _Failure]
_SUITES: pytest.StashKey[_Suites] = pytest.StashKey()
_UNBUILT: pytest.StashKey[int] = pytest.StashKey()


class GuestTestFailedError(Exception):
    """The test failed in the guest; the text is its report from there."""


class GuestItem(pytest.Item):
    """A test of a guest, seen from the host."""

    def __init__(self, *, guest_nodeid: str, boot: Boot, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.guest_nodeid = guest_nodeid
        self.boot = boot
        self.add_marker(pytest.mark.lab)
        limit = self.config.getoption("--lab-timeout") + _FETCH_MARGIN_S
        self.add_marker(pytest.mark.timeout(limit))

        if boot.kernel in BUILT:
            self.add_marker(pytest.mark.idle_kernel)

    def runtest(self) -> None:
        """Take the outcome over from the guest."""
        outcome = self._outcome()
        if outcome.outcome == "skipped":
            pytest.skip(outcome.message or "skipped in the guest")
        if outcome.outcome != "passed":
            raise GuestTestFailedError(outcome.message)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, GuestTestFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        return self.path, None, self.name

    def _outcome(self) -> NodeOutcome:
        suites = self.session.stash.setdefault(_SUITES, {})
        if self.boot not in suites:
            suites[self.boot] = _run_suite(self.session, self.boot)
        suite = suites[self.boot]
        if isinstance(suite, _Failure):
            return NodeOutcome("failed", suite.reason, 0.0)
        return suite.node(self.guest_nodeid)


def _run_suite(session: pytest.Session, boot: Boot) -> SuiteResult | _Failure:
    own = [item for item in session.items if isinstance(item, GuestItem) and item.boot == boot]
    nodeids = [item.guest_nodeid for item in own]
    limit = session.config.getoption("--lab-timeout")
    try:
        return run_pytest(boot.kernel, nodeids, machine=boot.machine, timeout_s=limit)
    except LabError as error:
        return _Failure(str(error))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab", "guests with real kernels")
    group.addoption("--lab-kernels", default="6.12,7.3", help="kernel series for guest tests")
    group.addoption("--lab-timeout", type=float, default=1800.0, help="seconds for one guest")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """Replace each guest test by one item per kernel, before markers and -k select.

    Afterwards, leave out those on kernels that nobody has built.
    """
    if GUEST_VARIABLE in os.environ:
        return (yield)
    default = config.getoption("--lab-kernels").split(",")
    items[:] = [item for original in items for item in _expand(original, default)]
    yield
    unbuilt = [item for item in items if _is_unbuilt(item)]
    if unbuilt:
        config.stash[_UNBUILT] = len(unbuilt)
        config.hook.pytest_deselected(items=unbuilt)
        items[:] = [item for item in items if item not in unbuilt]
    return None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left out, and how to have it."""
    if count := config.stash.get(_UNBUILT, 0):
        text = f"{count} tests left out: kernel {', '.join(BUILT)} is not built; make test-idle"
        terminalreporter.write_line(text)


def _is_unbuilt(item: pytest.Item) -> bool:
    return (
        isinstance(item, GuestItem)
        and item.boot.kernel in BUILT
        and cached(item.boot.kernel) is None
    )


def _expand(item: pytest.Item, default: list[str]) -> list[pytest.Item]:
    marker = item.get_closest_marker("guest")
    if marker is None:
        return [item]
    options = dict(marker.kwargs)
    kernels = options.pop("kernels", default)
    boots = [Boot(kernel, Machine(**options)) for kernel in kernels]
    return [_guest_item(item, boot) for boot in boots]


def _guest_item(item: pytest.Item, boot: Boot) -> pytest.Item:
    assert item.parent is not None  # a collected test always lies in a module
    made: pytest.Item = GuestItem.from_parent(
        item.parent,
        name=f"{item.name}@{boot.kernel}",
        guest_nodeid=item.nodeid,
        boot=boot,
    )
    return made
