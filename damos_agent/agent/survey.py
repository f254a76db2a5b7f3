"""One look at everything: what each policy wants and what the machine shows. Changes nothing.

Both the daemon and `damosctl plan` start here, so that a plan on paper is the plan carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from damos_agent.algo.lower import check_ops
from damos_agent.algo.target import Selection
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.maps import read_ranges
from damos_agent.host.physical import read_physical
from damos_agent.host.roots import Roots
from damos_agent.host.system import read_boot_id, read_exclusive_modules, read_uptime_us
from damos_agent.host.targets import TargetReader
from damos_agent.kernel.observe import observe
from damos_agent.kernel.planner import Desired, Situation
from damos_agent.kernel.wish import Knowledge, desire
from damos_agent.model.damon import Ledger, ObservedKernel, Placement
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.feature import Feature, Features
from damos_agent.model.policy import AddressRange, BackendChoice, PhysicalTarget, Policy
from damos_agent.model.settings import DamonStat, Settings

NOT_ASKED_FOR = "the policy asks for backend userspace"


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine as the agent sees it: files, where they are, what its kernel can do."""

    fs: Filesystem
    roots: Roots
    features: Features
    reader: TargetReader
    sleep: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Survey:
    """`desired` by policy name; for the others the reason why not (`unsupported`, `waiting`).

    `situation` is what a plan is made from; `selections` tells each target's processes.
    """

    desired: dict[str, Desired]
    situation: Situation
    unsupported: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    selections: dict[str, Selection] = field(default_factory=dict)


def survey(
    policies: Mapping[str, Policy],
    machine: Machine,
    ledger: Ledger,
    settings: Settings,
    hold: frozenset[str] = frozenset(),
) -> Survey:
    """Raises `HostError` or `KernelError` when the machine cannot be looked at now."""
    records = {record.policy: (i, record) for i, record in ledger.slots.items()}
    previous = {name: record.placements for name, (_, record) in records.items()}
    selections = select(policies, machine, previous)
    observed = look(machine)
    now_us = read_uptime_us(machine.fs, machine.roots)
    desired: dict[str, Desired] = {}
    unsupported: dict[str, str] = {}
    waiting: dict[str, str] = {}
    for name, policy in policies.items():
        index, record = records.get(name, (-1, None))
        try:
            physical = _check(policy, machine)
            if not physical and not selections[name].processes:
                waiting[name] = selections[name].reason
                continue
            known = Knowledge(
                features=machine.features,
                now_us=now_us,
                ranges=lambda pid: read_ranges(machine.fs, machine.roots, pid),
                alive=selections[name].processes,
                physical=physical,
                record=record,
                slot=observed.slots[index] if 0 <= index < len(observed.slots) else None,
            )
            desired[name] = desire(policy, known)
        except (UnsupportedError, HostError) as error:
            unsupported[name] = str(error)
    situation = Situation(
        observed=observed,
        ledger=ledger,
        boot_id=read_boot_id(machine.fs, machine.roots),
        features=machine.features,
        pool=settings.slots,
        suspend_stat=settings.damon_stat is DamonStat.SUSPEND,
        hold=hold,
    )
    return Survey(desired, situation, unsupported, waiting, selections)


def select(
    policies: Mapping[str, Policy],
    machine: Machine,
    previous: Mapping[str, tuple[Placement, ...]] | None = None,
) -> dict[str, Selection]:
    """The processes of every policy's target now."""
    targets = {name: policy.target for name, policy in policies.items()}
    return machine.reader.select(targets, previous)


def look(machine: Machine) -> ObservedKernel:
    """DAMON as it is; nothing at all where the kernel has none."""
    if Feature.SYSFS not in machine.features:
        return ObservedKernel(())
    exclusive = read_exclusive_modules(machine.fs, machine.roots)
    return observe(machine.fs, machine.roots.sysfs, exclusive, machine.sleep)


def _check(policy: Policy, machine: Machine) -> tuple[AddressRange, ...]:
    """Physical ranges of a physical target; `UnsupportedError` where the backend cannot serve."""
    if policy.backend is BackendChoice.USERSPACE:
        raise UnsupportedError(NOT_ASKED_FOR)
    check_ops(policy, machine.features)
    if isinstance(policy.target, PhysicalTarget):
        return read_physical(machine.fs, machine.roots, policy.target)
    return ()
