"""What a kernel offers and what on the machine matters to DAMON, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from damos_agent.agent.status import read_status
from damos_agent.agent.survey import NOT_ASKED_FOR
from damos_agent.algo.lower import check_ops
from damos_agent.cli.exits import message_for
from damos_agent.cli.machine import is_copy, read_features, read_ledger
from damos_agent.cli.preview import stand_in, userspace_lacks
from damos_agent.cli.session import Session
from damos_agent.host.filesystem import read_if_there
from damos_agent.host.memory import read_psi
from damos_agent.host.physical import read_nodes, read_physical
from damos_agent.host.system import read_exclusive_modules
from damos_agent.kernel.features import profile_of
from damos_agent.kernel.observe import observe
from damos_agent.kernel.ownership import judge
from damos_agent.kernel.wish import desire
from damos_agent.model.errors import DamosError, HostError, UnsupportedError
from damos_agent.model.feature import Features
from damos_agent.model.policy import BackendChoice, Mode, PhysicalTarget, Policy, ProbeChoice
from damos_agent.model.userspace import Rung
from damos_agent.userspace.capable import check_pages

_ASK_S = 2.0


@dataclass(frozen=True, slots=True)
class Host:
    """The machine around its kernel. `kdamonds`: all, running, others'; None if unreadable.

    `swap` maps each swap device to its bytes.
    """

    kdamonds: tuple[int, int, int] | None
    kdamonds_trouble: str
    exclusive: tuple[str, ...]
    psi: bool
    nodes: tuple[int, ...]
    swap: dict[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """Why the kernel cannot run a policy as it stands, and not once it enforces; empty: it can.

    `why_not_here`: why user space could not do it in its place.
    """

    why_not: str = ""
    why_not_enforced: str = ""
    why_not_here: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """`host` is None for a kernel that is only named. `policies`: whether each can run, by name."""

    features: Features
    host: Host | None
    policies: dict[str, Answer]
    rungs: tuple[Rung, ...] = ()


def offer_of_machine(
    session: Session, policies: Mapping[str, Policy], kernel: str | None = None
) -> Offer:
    """What this machine offers, or one whose sysfs was copied; `kernel` is the copy's release."""
    features = read_features(session, kernel)
    rungs = _climb(session, policies)
    answers = {
        name: Answer(memory, memory, userspace_lacks(policy))
        if (memory := _no_memory(policy, session))
        else _answer(policy, features)
        for name, policy in policies.items()
    }  # fmt: skip
    for name, policy in policies.items():
        if not answers[name].why_not_here and (lacks := probe_lacks(policy, rungs)):
            answers[name] = replace(answers[name], why_not_here=lacks)
    return Offer(features, _read_host(session), answers, rungs)


def probe_lacks(policy: Policy, rungs: tuple[Rung, ...]) -> str:
    """Why the probe that `auto` chooses here cannot serve the policy; empty: it can."""
    works = next((r for r in rungs if not r.reason and not r.experimental), None)
    automatic = policy.monitoring.userspace.probe is ProbeChoice.AUTO
    if not automatic or works is None or works.granularity == "page":
        return ""
    try:
        check_pages(policy, works.name)
    except UnsupportedError as error:
        return str(error)
    return ""


def _climb(session: Session, policies: Mapping[str, Policy]) -> tuple[Rung, ...]:
    """Which access probes work here, each tried on a child of ours."""
    # Late: everything of the monitor, which the other commands do without.
    from damos_agent.userspace.ladder import Ladder

    ladder = Ladder(session.fs, session.roots)
    named = {policy.monitoring.userspace.probe for policy in policies.values()}
    try:
        rungs = ladder.climb(sorted(named - {ProbeChoice.AUTO}))
    finally:
        ladder.close()
    users = _users(session)
    return tuple(mark_used(rung, users) for rung in rungs)


def mark_used(rung: Rung, users: Mapping[str, tuple[str, ...]]) -> Rung:
    """What serves a policy works, whatever was found out here; policies by the probe's name."""
    names = users.get(rung.name, ())
    return replace(rung, reason="" if names else rung.reason, used_by=names)


def _users(session: Session) -> dict[str, tuple[str, ...]]:
    """The running agent's policies by probe: it may read others than the search path has."""
    if is_copy(session):
        return {}
    try:
        status = read_status(session.status_socket, timeout_s=_ASK_S)
    except HostError:
        return {}  # nobody to ask
    found: dict[str, tuple[str, ...]] = {}
    for policy in status.policies:
        found[policy.probe] = (*found.get(policy.probe, ()), policy.name)
    return found


def offer_of_kernel(kernel: str, policies: Mapping[str, Policy]) -> Offer:
    """What mainline kernel `kernel` offers."""
    features = profile_of(kernel)
    return Offer(features, None, {n: _answer(p, features) for n, p in policies.items()})


def _answer(policy: Policy, features: Features) -> Answer:
    enforcing = replace(policy, mode=Mode.ENFORCE)
    return Answer(
        _why_not(policy, features), _why_not(enforcing, features), userspace_lacks(policy)
    )


def _why_not(policy: Policy, features: Features) -> str:
    if policy.backend is BackendChoice.USERSPACE:
        return NOT_ASKED_FOR
    try:
        check_ops(policy, features)
        desire(policy, stand_in(policy, features))
    except DamosError as error:
        return str(error)
    return ""


def _no_memory(policy: Policy, session: Session) -> str:
    if not isinstance(policy.target, PhysicalTarget):
        return ""
    try:
        read_physical(session.fs, session.roots, policy.target)
    except DamosError as error:
        return str(error)
    return ""


def _read_host(session: Session) -> Host:
    fs, roots = session.fs, session.roots
    exclusive = read_exclusive_modules(fs, roots)
    kdamonds, trouble = None, ""
    try:
        ledger = read_ledger(session)
        observed = observe(fs, roots.sysfs, exclusive, session.sleep)
        running = [index for index, slot in enumerate(observed.slots) if slot.running]
        foreign = judge(observed, ledger, ledger.boot_id).foreign
        kdamonds = (len(observed.slots), len(running), len(foreign.intersection(running)))
    except DamosError as error:
        trouble = message_for(error)
    return Host(
        kdamonds,
        trouble,
        exclusive,
        psi=read_psi(fs, roots) is not None,
        nodes=read_nodes(fs, roots),
        swap=parse_swaps(read_if_there(fs, f"{roots.proc}/swaps") or ""),
    )


def parse_swaps(text: str) -> dict[str, int]:
    """Bytes by device, from /proc/swaps."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0]: int(row[2]) * 1024 for row in rows if len(row) >= 3}
