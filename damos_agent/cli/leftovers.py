"""What an agent that does not run has left: by its record, and by what the kernel shows."""

from __future__ import annotations

from collections.abc import Iterator

from damos_agent.cli.exits import message_for
from damos_agent.cli.machine import read_ledger
from damos_agent.cli.session import Session
from damos_agent.host.system import read_exclusive_modules
from damos_agent.kernel.observe import observe
from damos_agent.kernel.ownership import judge
from damos_agent.model.damon import Ledger, ObservedKernel
from damos_agent.model.errors import DamosError
from damos_agent.model.units import plural


def leftovers(session: Session) -> Iterator[str]:
    """Lines to read; what cannot be read is said, not raised."""
    try:
        ledger = read_ledger(session)
        exclusive = read_exclusive_modules(session.fs, session.roots)
        observed = observe(session.fs, session.roots.sysfs, exclusive, session.sleep)
    except DamosError as error:
        yield f"what it left in the kernel cannot be told: {message_for(error)}"
        return
    yield from _tell(ledger, observed)


def _tell(ledger: Ledger, observed: ObservedKernel) -> Iterator[str]:
    running = sum(slot.running for slot in observed.slots)
    if not running:
        yield "no kdamond runs"
        return
    foreign = judge(observed, ledger, ledger.boot_id).foreign
    for index, slot in enumerate(observed.slots):
        if not slot.running:
            continue
        record = ledger.slots.get(index)
        whose = "somebody else's"
        if index not in foreign and record is not None:
            whose = f"left by the agent for policy {record.policy}"
        yield f"kdamond {index} runs (pid {slot.pid}), {whose}"
    if len(foreign) < running:
        ours = plural(running - len(foreign), "kdamond")
        yield f"{ours} will be taken over when the agent starts"
