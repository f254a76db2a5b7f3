"""The live machine, or a copy of its trees, as the agent would see it. Read only."""

from __future__ import annotations

from collections.abc import Mapping

from damos_agent.agent.held import find_hold, load_held
from damos_agent.agent.ledger import load_ledger
from damos_agent.agent.survey import Machine
from damos_agent.algo.overlay import Hold
from damos_agent.cli.exits import NoDamonError
from damos_agent.cli.session import Session
from damos_agent.host.roots import Roots
from damos_agent.host.system import read_boot_id, read_kernel_release, read_uptime_us
from damos_agent.host.targets import TargetReader
from damos_agent.kernel.btf import parse_damon
from damos_agent.kernel.features import detect, from_names, named_by_newest
from damos_agent.kernel.tree_features import from_tree
from damos_agent.model.damon import Ledger
from damos_agent.model.feature import Features, Source
from damos_agent.model.policy import Policy
from damos_agent.model.settings import Settings


def is_copy(session: Session) -> bool:
    """Whether sysfs is somewhere else than the proc we read: taken from another machine."""
    return session.roots.sysfs != Roots().sysfs


def read_features(session: Session, kernel: str | None = None) -> Features:
    """What the kernel at the session's roots can do; source `absent` without DAMON.

    `kernel`: its release, for a copy that does not tell.
    """
    sysfs, moved_proc = session.roots.sysfs, session.roots.proc != Roots().proc
    if not is_copy(session):
        release = read_kernel_release(session.fs, session.roots)
        return detect(session.fs, sysfs, release, session.read_btf(sysfs))
    kdamonds = f"{sysfs}/kernel/mm/damon/admin/kdamonds"
    if not session.fs.exists(kdamonds):
        return Features(
            kernel or "of the copy", Source.ABSENT, detail="the copy has no DAMON sysfs"
        )
    if kernel is None and moved_proc:
        kernel = read_kernel_release(session.fs, session.roots)
    if (btf := session.read_btf(sysfs)) is not None:
        found = from_names(parse_damon(btf), kernel or "")
        return found if kernel else named_by_newest(found)
    return from_tree(session.fs, kdamonds, kernel)


def read_machine(session: Session, kernel: str | None = None) -> Machine:
    """The machine, for `survey`. `NoDamonError` where its kernel has no DAMON sysfs."""
    features = read_features(session, kernel)
    if features.source is Source.ABSENT:
        raise NoDamonError(
            features.detail,
            path=f"{session.roots.sysfs}/kernel/mm/damon",
            hint="it needs CONFIG_DAMON_SYSFS; `plan --kernel 6.12` needs no DAMON here",
        )
    reader = TargetReader(session.fs, session.roots)
    return Machine(session.fs, session.roots, features, reader, session.sleep)


def read_ledger(session: Session) -> Ledger:
    """What the agent recorded on this boot; an empty ledger if it never ran."""
    boot_id = read_boot_id(session.fs, session.roots)
    ledger = load_ledger(session.roots.run)
    return ledger if ledger.boot_id == boot_id else Ledger(boot_id=boot_id)


def read_holds(
    session: Session, policies: Mapping[str, Policy], settings: Settings, features: Features
) -> dict[str, Hold]:
    """What the agent holds of each policy: pauses, guards, the time after boot. Of a copy nothing
    is known.
    """
    if is_copy(session):
        return {}
    run = session.roots.run
    now_us = read_uptime_us(session.fs, session.roots)
    held = load_held(run, read_boot_id(session.fs, session.roots))
    grace_us = settings.boot_grace_us
    return {
        name: find_hold(policy, held, features, run, now_us, grace_us)
        for name, policy in policies.items()
    }
