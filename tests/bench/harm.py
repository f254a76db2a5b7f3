# SPDX-License-Identifier: Apache-2.0
"""What wrong coldness costs a process, with canaries in front of page-outs and without.

    python -m tests.bench.harm

Memory in use all the time is claimed cold ten times a second, which no probe does: this is what a
wrong one could do at worst. Root; on the host, with swap of its own. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from random import Random

from damos_agent.algo.region import Region
from damos_agent.host.faults import read_faults
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.madvise import Advice, Advised, advise
from damos_agent.host.roots import Roots
from damos_agent.model.damon import SchemeSpec
from damos_agent.model.errors import HostError
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.actor import ProcessActor
from damos_agent.userspace.canary import Admission, CanaryGate, Outlook
from damos_agent.userspace.canary_book import CanaryBook
from damos_agent.userspace.canary_state import CanaryLimits
from damos_agent.userspace.handle import Effects, Handle
from damos_agent.userspace.turn import Turn
from tests.bench.cost_windows import between
from tests.load.layout import HotCold
from tests.load.load import Load
from tests.load.progress import speed
from tests.load.run import start
from tests.userspace.machine import missing_for_swap, zram_swap

MIB = 1 << 20
SIZE = 64 * MIB
LAYOUT = HotCold(SIZE, 0, SIZE)
GATED, UNGATED = "with canaries", "without"
_LIMITS = CanaryLimits(wait_us=2_000_000)
_WINDOW_S = 20.0
_ROUND_S = 0.1
_ROUND_US = 1_000_000


class _Open(CanaryGate):
    """Lets everything pass."""

    def admit(
        self,
        handle: Handle,
        ranges: Sequence[AddressRange],
        turn: Turn,
        outlook: Outlook | None = None,
    ) -> Admission:
        return Admission(cleared=tuple(ranges))


def measure() -> list[dict[str, object]]:
    """One record for each way. Raises `HostError` where no swap can be made."""
    if missing := missing_for_swap():
        raise HostError(missing, hint="run as root, on a kernel with zram")
    with zram_swap(4 * SIZE):
        return [_run(GATED), _run(UNGATED)]


def _run(how: str) -> dict[str, object]:
    out_bytes = 0

    def counting(pidfd: int, advice: Advice, ranges: Sequence[AddressRange]) -> Advised:
        nonlocal out_bytes
        done = advise(pidfd, advice, ranges)
        out_bytes += done.taken if advice is Advice.PAGEOUT else 0
        return done

    with start(LAYOUT, "anon", "--pause", "0.01") as load:
        time.sleep(_WINDOW_S)
        calm, faults = load.speed(_WINDOW_S - 1).accesses_per_s, _major_faults(load)
        _claim_cold(load, how, counting)
        lines = load.lines()
        now = speed(between(lines, lines[-1].at_s - _WINDOW_S, lines[-1].at_s)).accesses_per_s
        return {
            "how": how,
            "claimed_mib": SIZE / MIB,
            "seconds": _WINDOW_S,
            "out_mib": out_bytes / MIB,
            "major_faults": _major_faults(load) - faults,
            "speed": now / calm,
        }


def _claim_cold(
    load: Load, how: str, advise_by: Callable[[int, Advice, Sequence[AddressRange]], Advised]
) -> None:
    effects = Effects(RealFilesystem(), Roots(), advise=advise_by)
    gate = (CanaryGate if how == GATED else _Open)(CanaryBook(_LIMITS), Random(1))
    scheme = SchemeSpec("pageout")
    with closing(ProcessActor([scheme], effects, gate, update_us=1_000_000)) as actor:
        until = time.monotonic() + _WINDOW_S
        while time.monotonic() < until:
            actor.begin_round(_ROUND_US)
            for start_at, end in load.parts():
                actor.apply(0, load.placement(), Region(start_at, end))
            time.sleep(_ROUND_S)


def _major_faults(load: Load) -> int:
    told = read_faults(RealFilesystem(), Roots(), load.placement())
    assert told is not None
    return told.count


def main() -> None:
    sys.stdout.write(json.dumps(measure()) + "\n")


if __name__ == "__main__":
    main()
