"""The systemd unit, from the wheel, under a real systemd on a real kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vm.guest import PROJECT, Job, boot
from tests.vm.qemu import Machine

CAP_SYS_PTRACE, CAP_SYS_ADMIN = 1 << 19, 1 << 21


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What tests.guest.unit saw in a guest."""
    wheels = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--wheel-dir", str(wheels), str(PROJECT)], check=True)
    job = Job(
        ["python", "-m", "tests.guest.unit", "/run/wheels"],
        writable={"/run/wheels": wheels},
        timeout_s=1800,
        systemd=True,
    )
    result = boot("7.3", Machine(1024), job)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


pytestmark = [pytest.mark.lab, pytest.mark.timeout(2400)]


def test_it_starts_from_the_wheel_and_reaches_damon(seen: Any) -> None:
    """The sandbox lets it read executables and physical memory, and write DAMON's files."""
    started = seen["started"]
    assert started["states"] == {
        "physical-reclaim-file-cache": ["active", ""],
        "proactive-reclaim": ["active", ""],
    }
    assert started["kdamonds"] == 2
    assert Path(started["from"][0]).is_relative_to("/usr/lib/damos-agent")
    assert started["status_text"] == "2 of 2 policies in force"
    assert started["status_text"] in started["status"]
    assert int(started["capabilities"], 16) & ~(CAP_SYS_PTRACE | CAP_SYS_ADMIN) == 0


def test_reload_is_a_commit(seen: Any) -> None:
    assert seen["reload"] == {"same_main": True, "same_kdamonds": True, "result": "success"}


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_new_agent_adopts_what_the_last_one_ran(seen: Any, how: str) -> None:
    """After SIGKILL, and after the watchdog found it hanging."""
    assert seen[how] == {"same_kdamonds": True, "same_main": False}


def test_the_watchdog_is_fed(seen: Any) -> None:
    assert seen["fed"] == "active"


def test_stop_leaves_nothing_running(seen: Any) -> None:
    assert seen["stopped"] == {"kdamonds": "0", "result": "success", "record_kept": True}


def test_in_user_space_the_missing_privilege_is_named_and_the_drop_in_grants_it(seen: Any) -> None:
    """The very drop-in of the wheel."""
    assert "error" not in seen["userspace"], seen["userspace"]
    state, reason = seen["userspace"]["without"]
    assert state == "unsupported"
    assert "CAP_" in reason
    assert seen["userspace"]["with"] == ["active", ""]
    assert seen["userspace"]["swap_mib"] > 4
