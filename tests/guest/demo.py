# SPDX-License-Identifier: Apache-2.0
"""`make demo`: an agent at work, on this machine where DAMON is free, else in a lab guest.

This machine is only looked at before that is decided; a guest is the answer to every doubt.
"""

import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from damos_agent.agent.status import read_status
from damos_agent.cli.session import Session
from damos_agent.cli.survey_features import Offer, offer_of_machine
from damos_agent.model.errors import DamosError
from damos_agent.model.feature import Feature, Ops
from tests.guest.demo_show import COLD_MIB, show
from tests.vm.errors import LabError
from tests.vm.guest import run
from tests.vm.guestlib import kernel_series, zram_swap

KERNEL = "7.3"


def obstacle(offer: Offer, uid: int, agent: str) -> str:
    """Why the demo cannot run on this machine; "" if it can. `agent`: who manages DAMON here."""
    host = offer.host
    if uid != 0:
        return "only root may use DAMON"
    if Feature.COMMIT not in offer.features:
        return offer.features.detail or "its kernel has no DAMON sysfs interface"
    if Ops.VADDR not in offer.features.ops:
        return f"its kernel {offer.features.release} was built without DAMON for processes (vaddr)"
    if host is None or host.kdamonds is None:
        return "the state of DAMON cannot be read"
    if host.exclusive:
        return f"{', '.join(host.exclusive)} has DAMON for itself"
    if host.kdamonds[0]:
        return f"somebody else has {host.kdamonds[0]} kdamond(s) there, which are left alone"
    if agent:
        return agent
    if sum(host.swap.values()) < 2 * COLD_MIB << 20:
        return f"it has less than {2 * COLD_MIB} MiB of swap for cold memory to go to"
    return ""


def look_here() -> str:
    """`obstacle` of this machine, which is only read."""
    session = Session()
    try:
        agent = f"damos-agent runs there (pid {read_status(session.status_socket).pid})"
    except DamosError:
        agent = ""
    try:
        return obstacle(offer_of_machine(session, {}), os.geteuid(), agent)
    except DamosError as error:
        return str(error)


def _perform(place: str) -> int:
    with tempfile.TemporaryDirectory(prefix="damos-demo-") as name:
        base = Path(name)
        base.chmod(0o755)
        # A guest has no swap of its own; on a machine the demo adds none.
        with zram_swap(2 * COLD_MIB) if kernel_series() else nullcontext():
            return show(base, place)


def _in_guest(why: str) -> int:
    print(f"Not on this machine: {why}.")
    print(
        f"So in a guest with Linux {KERNEL}; it starts in some 15 s (the first time it is fetched)."
    )
    sys.stdout.flush()
    try:
        # By a clock of executed instructions: the show is the same however busy this machine is.
        command = [sys.executable, "-u", "-m", "tests.guest.demo"]
        done = run(KERNEL, command, virtual_time=True, echo=True, timeout_s=900)
    except LabError as error:
        print(f"\nNo guest either: {error}", file=sys.stderr)
        return 1
    return done.returncode


def main() -> int:
    """Exit status 0 if everything shown was true."""
    if kernel_series():
        return _perform(f"a guest with Linux {os.uname().release}")
    why = look_here()
    return _in_guest(why) if why else _perform(f"this machine, Linux {os.uname().release}")


if __name__ == "__main__":
    sys.exit(main())
