"""The second round of quotas that are being primed, for an agent that is about to leave.

Before 6.18 a scheme with a new quota matches nothing until its first charge window is over. Who
left before then would leave it like that for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from damos_agent.agent.core import Core
from damos_agent.agent.events import Event, emit
from damos_agent.host.system import read_uptime_us

PRIMING_ONCE_US = 120_000_000
"""So long does `--once` wait for windows to pass."""
PRIMING_STOP_US = 30_000_000
"""An agent that stops waits no longer: systemd has given it a minute for everything."""
_STEP_US = 100_000


def finish_priming(core: Core, sleep: Callable[[float], None], limit_us: int) -> bool:
    """Wait and make rounds until every quota has its limit; False when that takes too long."""
    spent_us, told = 0, None
    while waiting := core.reconciler.priming:
        machine = core.machine
        due_us = max(waiting.values())
        left_us = max(due_us - read_uptime_us(machine.fs, machine.roots), _STEP_US)
        if spent_us + left_us > limit_us:
            emit(
                core.logger,
                Event.PRIMING_LEFT,
                policies=sorted(waiting),
                wait_us=left_us,
                hint="let the agent run on, or make the quota interval shorter",
            )
            return False
        if told != due_us:
            emit(core.logger, Event.PRIMING_AWAITED, policies=sorted(waiting), wait_us=left_us)
            told = due_us
        sleep(left_us / 1e6)
        spent_us += left_us
        core.reconcile()
    return True
