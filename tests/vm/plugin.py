# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin for the host's side: tests marked `guest` run in lab guests.

Each test with `@pytest.mark.guest` becomes one test per kernel, `test_name@7.3`, marked `lab`.
All selected tests of a kernel run in one guest, a few guests beside each other
(`--lab-guests`), and each test takes its outcome from there. The marker's keywords choose the
machine: `kernels=("7.3",)`, `memory_mib`, `cpus`, `numa_nodes`, `virtual_time`; tests with the same
machine share a boot, but for those told `apart`. Tests on a kernel that must be built are marked
`idle_kernel` too, and left out, with a word about it, as long as it is not. Inside a guest the
plugin does nothing.
"""

import os
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.vm.errors import LabError
from tests.vm.guest import GUEST_VARIABLE
from tests.vm.packages import BUILT, cached
from tests.vm.pool import Pool
from tests.vm.pytest_guest import SuiteResult, run_pytest
from tests.vm.qemu import Machine
from tests.vm.report import NodeOutcome

_GUESTS = min(os.cpu_count() or 1, 4)
"""A guest keeps one core busy, and may take 2 GiB."""


@dataclass(frozen=True, slots=True)
class Boot:
    """Tests with an equal Boot run in the same guest."""

    kernel: str
    machine: Machine
    apart: str = ""

    def __str__(self) -> str:
        """As the summary names it."""
        machine = self.machine
        words = [f"{self.kernel} {self.apart}".rstrip(), f"{machine.memory_mib} MiB"]
        words += [f"{machine.numa_nodes} nodes"] if machine.numa_nodes > 1 else []
        return ", ".join([*words, *(["virtual time"] if machine.virtual_time else [])])


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str


_Guests = Pool[Boot, SuiteResult | _Failure]
_POOL: pytest.StashKey[_Guests] = pytest.StashKey()
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
        # The guest has its own limit; before that it waits for its turn.
        self.add_marker(pytest.mark.timeout(0))
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
        pool = self.session.config.stash[_POOL]
        # No test boots guests beside the pool any more: those come first.
        pool.grow(self.config.getoption("--lab-guests"))
        suite = pool.result(self.boot)
        if isinstance(suite, _Failure):
            return NodeOutcome("failed", suite.reason, 0.0)
        return suite.node(self.guest_nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Begin with guests, one less than allowed while tests boot guests themselves."""
    items = [item for item in session.items if isinstance(item, GuestItem)]
    if session.config.option.collectonly or not items:
        return
    stopping = threading.Event()
    limit = session.config.getoption("--lab-timeout")
    # Longest first, so that none is left alone at the end: waiting in real time is short.
    boots = sorted(dict.fromkeys(item.boot for item in items), key=_is_short)
    work: dict[Boot, Callable[[], SuiteResult | _Failure]] = {
        boot: partial(
            _run_suite,
            boot,
            [item.guest_nodeid for item in items if item.boot == boot],
            limit,
            stopping,
        )
        for boot in boots
    }
    pool: _Guests = Pool(work, stopping)
    session.config.stash[_POOL] = pool
    pool.grow(session.config.getoption("--lab-guests") - 1)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """No guest outlives the session, also when it is interrupted."""
    if pool := session.config.stash.get(_POOL, None):
        pool.stop()


def _is_short(boot: Boot) -> bool:
    return not boot.machine.virtual_time


def _run_suite(
    boot: Boot, nodeids: list[str], limit: float, stopping: threading.Event
) -> SuiteResult | _Failure:
    try:
        return run_pytest(
            boot.kernel, nodeids, machine=boot.machine, timeout_s=limit, stopping=stopping
        )
    except LabError as error:
        return _Failure(str(error))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lab", "guests with real kernels")
    group.addoption("--lab-kernels", default="6.12,7.3", help="kernel series for guest tests")
    group.addoption("--lab-timeout", type=float, default=1800.0, help="seconds for one guest")
    group.addoption("--lab-guests", type=int, default=_GUESTS, help="so many guests at once")


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
    items.sort(key=_is_of_a_guest)
    return None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how long guests took, what was left out, and how to have it."""
    if pool := config.stash.get(_POOL, None):
        for boot, seconds in pool.seconds.items():
            terminalreporter.write_line(f"guest {boot}: {seconds:.0f} s")
    if count := config.stash.get(_UNBUILT, 0):
        text = f"{count} tests left out: kernel {', '.join(BUILT)} is not built; make test-idle"
        terminalreporter.write_line(text)


def _is_of_a_guest(item: pytest.Item) -> bool:
    return isinstance(item, GuestItem)


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
    kernels, apart = options.pop("kernels", default), options.pop("apart", "")
    boots = [Boot(kernel, Machine(**options), apart) for kernel in kernels]
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
