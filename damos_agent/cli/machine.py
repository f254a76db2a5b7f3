"""The live machine, or a copy of its trees, as the agent would see it. Read only."""

from __future__ import annotations

from damos_agent.agent.ledger import load_ledger
from damos_agent.agent.survey import Machine
from damos_agent.cli.exits import NoDamonError
from damos_agent.cli.session import Session
from damos_agent.host.system import read_boot_id, read_kernel_release
from damos_agent.host.targets import TargetReader
from damos_agent.kernel.features import detect
from damos_agent.model.damon import Ledger
from damos_agent.model.feature import Features, Source


def read_features(session: Session) -> Features:
    """What the kernel at the session's roots can do; source `absent` without DAMON."""
    sysfs = session.roots.sysfs
    release = read_kernel_release(session.fs, session.roots)
    return detect(session.fs, sysfs, release, session.read_btf(sysfs))


def read_machine(session: Session) -> Machine:
    """The machine, for `survey`. `NoDamonError` where its kernel has no DAMON sysfs."""
    features = read_features(session)
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
