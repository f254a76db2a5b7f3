# SPDX-License-Identifier: Apache-2.0
"""The lab itself: what a guest run returns, and what it leaves behind."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.vm.errors import (
    GuestBootError,
    GuestDiedError,
    GuestPanicError,
    GuestTimeoutError,
)
from tests.vm.guest import PROJECT, own_prefix, run
from tests.vm.pytest_guest import run_pytest

pytestmark = pytest.mark.lab

_SHOW = """
uname -r
test -d /sys/kernel/mm/damon/admin && echo damon
grep -o 'cgroup2 /sys/fs/cgroup' /proc/mounts | head -1
pwd
echo "$WORD" >&2
printf 'from the guest' >/run/out/file
exit 7
"""


def _children() -> set[str]:
    """The pids of this thread's children: others may have guests at the same time."""
    return set(Path("/proc/thread-self/children").read_text().split())


def _leftovers() -> list[Path]:
    """What this thread's guests left in directories that other users of the lab share."""
    own = f"*{own_prefix()}*"
    return [*Path(tempfile.gettempdir()).glob(own), *Path("/var/run/virtiofsd").glob(f".{own}")]


@pytest.mark.parametrize("kernel", ["6.12", "7.3"])
def test_output_status_directory_and_environment_pass_through(kernel: str, tmp_path: Path) -> None:
    result = run(
        kernel,
        ["sh", "-c", _SHOW],
        cwd=Path("/usr/share"),
        env={"WORD": "it's a $WORD"},
        writable={"/run/out": tmp_path},
        modules=(),
    )

    release, *others = result.stdout.splitlines()
    assert release.startswith(f"{kernel}.")
    assert others == ["damon", "cgroup2 /sys/fs/cgroup", "/usr/share"]
    assert result.stderr == "it's a $WORD\n"
    assert result.returncode == 7
    assert (tmp_path / "file").read_text() == "from the guest"
    assert not _children()
    assert not _leftovers()


def test_a_guest_out_of_time_is_ended_and_reported_with_its_output() -> None:
    with pytest.raises(GuestTimeoutError, match="not done after 25 s") as caught:
        run("6.12", ["sh", "-c", "echo begun; sleep 1000"], timeout_s=25, modules=())

    assert caught.value.stdout == "begun\n"
    assert not _children()
    assert not _leftovers()


def test_a_panic_is_told_with_the_console() -> None:
    with pytest.raises(GuestPanicError, match="sysrq triggered crash"):
        run("6.12", ["sh", "-c", "echo c >/proc/sysrq-trigger"], modules=())


def test_a_guest_that_goes_off_during_the_command_is_an_error() -> None:
    with pytest.raises(GuestDiedError, match="went off during the command"):
        run("6.12", ["sh", "-c", "sync; echo o >/proc/sysrq-trigger; sleep 100"], modules=())


def test_a_module_that_does_not_exist_is_a_boot_error() -> None:
    with pytest.raises(GuestBootError, match="no_such_module"):
        run("6.12", ["true"], modules=("no_such_module",))


def test_virtual_time_costs_nothing_while_asleep() -> None:
    """600 s of sleep pass in the guest, not here."""
    script = "read a _ </proc/uptime; sleep 600; read b _ </proc/uptime; echo $a $b"
    result = run("6.12", ["sh", "-c", script], virtual_time=True, modules=(), timeout_s=200)

    first, last = (float(word) for word in result.stdout.split())
    assert 600 <= last - first < 605
    assert result.seconds < 150


def test_the_host_does_not_see_what_a_guest_writes() -> None:
    marker = Path(__file__).with_name(".written-by-a-guest")
    result = run("6.12", ["touch", str(marker)], modules=())
    assert (result.returncode, marker.exists()) == (0, False)


def test_a_pytest_whose_guest_panics_keeps_the_outcomes_up_to_there() -> None:
    nodes = "tests/vm/panicking.py"
    suite = run_pytest("6.12", [nodes], modules=())
    assert suite.node(f"{nodes}::test_before").outcome == "passed"
    assert suite.node(f"{nodes}::test_skipped").outcome == "skipped"
    assert suite.node(f"{nodes}::test_failing").outcome == "failed"
    assert "assert 1 == 2" in suite.node(f"{nodes}::test_failing").message
    assert "cut short" in suite.node(f"{nodes}::test_panic").message
    assert "not run" in suite.node(f"{nodes}::test_after").message


def test_a_killed_harness_takes_its_guest_along_and_the_next_run_cleans_up() -> None:
    argv = [sys.executable, "-m", "tests.vm", "--kernel", "6.12", "--", "sleep", "1000"]
    harness = subprocess.Popen(argv, cwd=PROJECT)
    children = _await_children(harness.pid)
    harness.kill()
    harness.wait()
    own = f"damos-lab-{harness.pid}-*"
    assert [*Path(tempfile.gettempdir()).glob(own)]

    assert run("6.12", ["true"], modules=()).returncode == 0

    assert not [pid for pid in children if _runs(pid)]
    assert not [*Path(tempfile.gettempdir()).glob(own)]


def _await_children(pid: int) -> list[int]:
    """QEMU and the two shares of a harness that has just been started."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        if len(text.split()) == 3:
            return [int(word) for word in text.split()]
        time.sleep(0.1)
    raise AssertionError("the harness did not start its three children")


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
