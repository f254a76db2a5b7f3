"""Each guest test gets a rig of its own, swap, and a clean DAMON."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.guest.rig import PROJECT, Rig
from tests.vm.guestlib import reset_damon, set_damon_stat, zram_swap


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """An agent not yet started, DAMON free and unused, zram swap on."""
    tmp_path.chmod(0o755)
    set_damon_stat(enabled=False)
    reset_damon()
    made = Rig(tmp_path)
    with zram_swap(512):
        try:
            made.setup()
            yield made
        finally:
            made.close()
            reset_damon()


@pytest.fixture
def warm() -> None:
    """The agent's files are in the page cache, so that no wait of a test is for the host's disk.

    In virtual time a guest that waits for its host sees time fly.
    """
    modules = "damos_agent.agent.main, damos_agent.config.compile, tests.guest.workload"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True, cwd=PROJECT)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the end of the agent's log."""
    report = yield
    rig = getattr(item, "funcargs", {}).get("rig")
    if report.failed and isinstance(rig, Rig) and (log := rig.base / "log").exists():
        report.sections.append(("the agent's log", log.read_text()[-12000:]))
    return report
