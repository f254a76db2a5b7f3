"""From what policies target to the processes that are there, one look at the machine a tick."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, assert_never

from damos_agent.algo.target import GroupTarget, Selection, Snapshot, describe, match
from damos_agent.host.cgroup import find_container, find_unit, read_hierarchy, read_pids
from damos_agent.host.filesystem import Filesystem
from damos_agent.host.pattern import PatternSearch
from damos_agent.host.process import Field, ProcessTable, read_own_pid
from damos_agent.host.roots import Roots
from damos_agent.host.system import read_uid
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError
from damos_agent.model.policy import (
    CgroupTarget,
    ContainerTarget,
    PidTarget,
    ProcessTarget,
    Target,
    UnitTarget,
)

__all__ = ["Selection", "TargetReader"]

_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EIO})


class TargetReader:
    """Turns targets into processes, remembering from call to call what makes the next one cheap.

    It also remembers which process a pid of a `PidTarget` was, so that a later process of the same
    pid is not taken for it.
    """

    def __init__(
        self,
        fs: Filesystem,
        roots: Roots,
        *,
        find_uid: Callable[[str], int | None] = read_uid,
    ) -> None:
        self._fs = fs
        self._roots = roots
        self._find_uid = find_uid
        self._table = ProcessTable(fs, roots)
        self._search = PatternSearch()
        self._uids: dict[str, int] = {}
        self._paths: dict[GroupTarget, str] = {}
        self._pins: dict[str, dict[int, int]] = {}

    def select(
        self,
        targets: Mapping[str, Target],
        previous: Mapping[str, tuple[Placement, ...]] | None = None,
    ) -> dict[str, Selection]:
        """The processes of each policy's target, by policy name.

        `previous` tells, for policies not seen by this reader yet, who sat at their indexes before
        (a restarted agent knows that from its ledger). `HostError` when the machine cannot be
        looked at now: nothing then is known to have gone.
        """
        try:
            snapshot = self._look(targets.values())
        except OSError as error:
            raise HostError(
                f"processes cannot be read now: {error.strerror}",
                path=error.filename,
                errno=error.errno,
            ) from error
        self._keep_pins(targets, previous or {})
        return {name: self._match(name, target, snapshot) for name, target in targets.items()}

    def group_path(self, target: Target) -> str | None:
        """The path of a target's cgroup in the hierarchy, as of the last look; None: none."""
        if isinstance(target, CgroupTarget):
            return "" if target.path == "/" else target.path
        if isinstance(target, (UnitTarget, ContainerTarget)):
            return self._paths.get(target)
        return None

    def _look(self, targets: Iterable[Target]) -> Snapshot:
        wanted = tuple(targets)
        groups = self._read_groups(
            {t for t in wanted if isinstance(t, (CgroupTarget, UnitTarget, ContainerTarget))}
        )
        filters = [t for t in wanted if isinstance(t, ProcessTarget)]
        members = {p for found in groups.values() if not isinstance(found, str) for p in found}
        named = {p for t in wanted if isinstance(t, PidTarget) for p in t.pids}
        pids = None if filters else members | named
        self._search.begin_round()
        return Snapshot(
            {p.pid: p for p in self._table.scan(_needs(filters), pids)},
            own_pid=read_own_pid(self._fs, self._roots),
            groups=groups,
            uids={t.user: self._uid(t.user) for t in filters if t.user is not None},
            search=self._search.search,
        )

    def _match(self, name: str, target: Target, snapshot: Snapshot) -> Selection:
        if isinstance(target, PidTarget):
            pins = self._pins.setdefault(name, {})
            found = match(target, replace(snapshot, pinned=pins))
            pins.update((p.pid, p.start_ticks) for p in found.processes)
            return found
        try:
            found = match(target, snapshot)
        except re.error as error:
            return Selection((), f"{describe(target)}: not a regular expression: {error}")
        slow = isinstance(target, ProcessTarget) and target.cmdline
        if slow and not found.processes and self._search.given_up(slow):
            count = self._search.given_up(slow)
            return Selection((), f"{found.reason} (too slow on {count} command lines: simplify)")
        return found

    def _keep_pins(
        self, targets: Mapping[str, Target], previous: Mapping[str, tuple[Placement, ...]]
    ) -> None:
        kept: dict[str, dict[int, int]] = {}
        for name, target in targets.items():
            if isinstance(target, PidTarget):
                seed = {p.pid: p.start_ticks for p in previous.get(name, ())}
                pins = self._pins.get(name, seed)
                kept[name] = {pid: pins[pid] for pid in target.pids if pid in pins}
        self._pins = kept

    def _uid(self, user: str) -> int | None:
        uid = self._uids.get(user)
        if uid is None:
            uid = self._find_uid(user)
            if uid is not None:
                self._uids[user] = uid
        return uid

    def _read_groups(self, targets: set[GroupTarget]) -> dict[GroupTarget, frozenset[int] | str]:
        self._paths = {t: path for t, path in self._paths.items() if t in targets}
        if not targets:
            return {}
        try:
            root = read_hierarchy(self._fs, self._roots)
        except HostError as error:
            return dict.fromkeys(targets, str(error))
        return {target: self._read_group(root, target) for target in targets}

    def _read_group(self, root: str, target: GroupTarget) -> frozenset[int] | str:
        """The members, or why there are none to know of."""
        known = self._paths.get(target)
        try:
            if known is not None:
                members = read_pids(self._fs, root, known, descendants=True)
                if members is not None:
                    return members
            if isinstance(target, CgroupTarget):
                members = read_pids(self._fs, root, target.path, descendants=target.descendants)
            else:
                members = self._find_members(root, target)
        except HostError as error:
            if error.errno in _PASSING:
                raise
            return str(error)
        return _absent(target) if members is None else members

    def _find_members(
        self, root: str, target: UnitTarget | ContainerTarget
    ) -> frozenset[int] | None:
        if isinstance(target, UnitTarget):
            path = find_unit(self._fs, root, target.unit)
        else:
            path = find_container(self._fs, root, target.id_prefix)
        if path is None:
            return None
        self._paths[target] = path
        return read_pids(self._fs, root, path, descendants=True)


def _needs(filters: Iterable[ProcessTarget]) -> frozenset[Field]:
    found = set()
    for target in filters:
        if target.exe is not None:
            found.add(Field.EXE)
        if target.cmdline is not None:
            found.add(Field.CMDLINE)
        if target.user is not None:
            found.add(Field.UID)
    return frozenset(found)


def _absent(target: GroupTarget) -> str:
    match target:
        case CgroupTarget():
            return f"cgroup {target.path} does not exist"
        case UnitTarget():
            return f"systemd unit {target.unit} is not running"
        case ContainerTarget():
            return f"no running container has an id that starts with {target.id_prefix}"
    assert_never(target)
