# SPDX-License-Identifier: Apache-2.0
"""`make demo`: an agent at work on this machine, by DAMON where it is free, else without it.

`--guest` shows it in a lab guest with a kernel whose DAMON can do everything.
"""

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from damos_agent.agent.status import read_status
from damos_agent.cli.session import Session
from damos_agent.cli.survey_features import parse_swaps
from damos_agent.model.errors import DamosError
from tests.guest.demo_show import COLD_MIB, Setting, show
from tests.guest.swap import NoSwapError, own_swap
from tests.vm.errors import LabError
from tests.vm.guest import run
from tests.vm.guestlib import kernel_series

KERNEL = "7.3"
SWAP_MIB = 2 * COLD_MIB


def _perform(place: str) -> int:
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="damos-demo-")))
        base.chmod(0o755)
        return show(base, _setting(place, stack))


def _setting(place: str, stack: ExitStack) -> Setting:
    """Where the show plays, and whether memory can be paged out there."""
    if os.geteuid() != 0:
        return Setting(place, "only root may page out other processes' memory")
    swap = parse_swaps(Path("/proc/swaps").read_text(encoding="utf-8"))
    if sum(swap.values()) >= SWAP_MIB << 20:
        return Setting(place)
    try:
        words = stack.enter_context(own_swap(SWAP_MIB))
    except (NoSwapError, OSError) as error:
        return Setting(place, f"there is no swap for it to go to, and none can be made: {error}")
    return Setting(place, swap=f"{SWAP_MIB} MiB of swap in {words}, for the time of the demo")


def _other_agent() -> str:
    try:
        return f"damos-agent runs here already (pid {read_status(Session().status_socket).pid})"
    except DamosError:
        return ""


def _in_guest(why: str) -> int:
    print(why)
    print(
        f"So in a guest with Linux {KERNEL}; it starts in some 15 s (the first time it is fetched)."
    )
    sys.stdout.flush()
    try:
        # By a clock of executed instructions: the show is the same however busy this machine is.
        command = [sys.executable, "-u", "-m", "tests.guest.demo"]
        done = run(KERNEL, command, virtual_time=True, echo=True, timeout_s=900)
    except LabError as error:
        print(f"\nNo guest: {error}", file=sys.stderr)
        return 1
    return done.returncode


def main(arguments: list[str]) -> int:
    """Exit status 0 if everything shown was true."""
    if kernel_series():
        return _perform(f"a guest with Linux {os.uname().release}")
    if "--guest" in arguments:
        return _in_guest("A kernel with all of DAMON was asked for.")
    if why := _other_agent():
        return _in_guest(f"Not on this machine: {why}.")
    return _perform(f"this machine, Linux {os.uname().release}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
