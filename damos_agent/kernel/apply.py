"""The one place with effects on DAMON: performs the steps of a plan.

Every staged value is read back before anything is committed. Any refusal leaves what ran before
running, and puts the staged tree back to it, so that nobody can commit a mixture.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from damos_agent.host.filesystem import Filesystem
from damos_agent.kernel.diff import stage
from damos_agent.kernel.errors import explain
from damos_agent.kernel.planner import NR_KDAMONDS
from damos_agent.kernel.tree import read_text, read_tree
from damos_agent.model.damon import (
    Change,
    Command,
    Ledger,
    RequirePids,
    SlotPlan,
    SlotRecord,
    Step,
    SwitchModule,
    Write,
    tree_digest,
)
from damos_agent.model.errors import KernelError

T = TypeVar("T")
_FIRST_WAIT_S = 0.01

BUSY_S = 5.0
_COMMITS = ("commit", "commit_schemes_quota_goals")


class Journal(Protocol):
    """Who wants to know of every write."""

    def wrote(self, path: str, value: str) -> None:
        """`value` went into `path`."""
        ...

    def refused(self, path: str, value: str, error: KernelError) -> None:
        """The kernel refused it."""
        ...


@dataclass(frozen=True, slots=True)
class Applier:
    """Performs slot plans below `sysfs`/kernel/mm/damon/admin/kdamonds.

    `save` keeps a ledger durably, in memory too; it is called before the first effect that would
    otherwise be unaccounted for after a crash, and after the last one, failed or not. `sleep` is
    used between retries of EBUSY. `settle_s`: how long a kernel that reports no commit errors may
    take to end a kdamond whose commit failed.
    """

    fs: Filesystem
    sysfs: str
    proc: str
    sleep: Callable[[float], None]
    save: Callable[[Ledger], None]
    journal: Journal
    settle_s: float = 0.0

    @property
    def kdamonds(self) -> str:
        """DAMON's directory of kdamonds."""
        return f"{self.sysfs}/kernel/mm/damon/admin/kdamonds"

    def apply(self, work: SlotPlan, ledger: Ledger) -> Ledger:
        """Do `work`; the ledger to go on with. Raises `KernelError` with nothing half-running."""
        announced = self._announce(work, ledger)
        try:
            for step in work.steps:
                self._step(step)
        except KernelError:
            self.save(self._restore(work, ledger, announced))
            raise
        ledger = self._conclude(work, announced)
        self.save(ledger)
        return ledger

    def _announce(self, work: SlotPlan, ledger: Ledger) -> Ledger:
        """Write down an intention before it has effects, so that a crash leaves no orphan."""
        if work.slot >= 0:
            if work.record is None or work.change is Change.TIDY:
                return ledger
            held = ledger.slots.get(work.slot)
            if held is None or work.change is Change.START:
                held = replace(work.record, digest="")
            ledger = _with_record(ledger, work.slot, replace(held, intent=work.record.digest))
        for step in work.steps:
            if isinstance(step, SwitchModule) and not step.on:
                ledger = replace(ledger, suspended_damon_stat=True)
            elif isinstance(step, Write) and step.path == NR_KDAMONDS and step.value != "0":
                ledger = replace(ledger, pool=int(step.value), slots={})
        self.save(ledger)
        return ledger

    def _conclude(self, work: SlotPlan, ledger: Ledger) -> Ledger:
        if work.slot < 0:
            for step in work.steps:
                if isinstance(step, SwitchModule) and step.on:
                    ledger = replace(ledger, suspended_damon_stat=False)
                elif isinstance(step, Write) and step.path == NR_KDAMONDS and step.value == "0":
                    ledger = replace(ledger, pool=0, slots={})
            return ledger
        if work.record is None:
            rest = {index: r for index, r in ledger.slots.items() if index != work.slot}
            return replace(ledger, slots=rest)
        pid = self._number(f"{work.slot}/pid", -1)
        return _with_record(ledger, work.slot, replace(work.record, kdamond_pid=pid))

    def _step(self, step: Step) -> None:
        match step:
            case Write():
                self._stage(f"{self.kdamonds}/{step.path}", step.value)
            case Command():
                self._command(step.slot, step.word)
            case RequirePids():
                self._require(step.pids)
            case SwitchModule():
                path = f"{self.sysfs}/module/{step.name}/parameters/enabled"
                self._write(path, "Y" if step.on else "N")

    def _stage(self, path: str, value: str) -> None:
        self._write(path, value)
        held = read_text(self.fs, path)
        if held != value:
            raise KernelError(
                f"wrote {value!r} but {held!r} is there now",
                path=path,
                hint="another tool may be writing to DAMON's files",
            )

    def _command(self, slot: int, word: str) -> None:
        path = f"{self.kdamonds}/{slot}/state"
        if word == "off" and self._state(slot) == "off":
            return
        self._write(path, word)
        if word in _COMMITS and self.settle_s:
            self.sleep(self.settle_s)
        if word in ("on", *_COMMITS) and self._state(slot) != "on":
            why = (
                "the kdamond ended at once: its target processes are gone"
                if word == "on"
                else "the kernel refused the commit by ending the kdamond (kernels before 6.15 do)"
            )
            raise KernelError(why, path=path, hint="it is started again")

    def _require(self, pids: tuple[int, ...]) -> None:
        for pid in pids:
            if not self.fs.exists(f"{self.proc}/{pid}"):
                raise KernelError(
                    f"target process {pid} has exited",
                    path=f"{self.proc}/{pid}",
                    hint="targets are looked up again",
                    errno=errno.ESRCH,
                )

    def _write(self, path: str, value: str) -> None:
        try:
            # A zero-length write never reaches the kernel; a bare newline blanks a path.
            self._patiently(lambda: self.fs.write(path, value or "\n"))
        except OSError as error:
            explained = explain(error, path, value)
            self.journal.refused(path, value, explained)
            raise explained from error
        self.journal.wrote(path, value)

    def _state(self, slot: int) -> str:
        path = f"{self.kdamonds}/{slot}/state"
        try:
            return self._patiently(lambda: self.fs.read(path)).strip()
        except OSError as error:
            raise explain(error, path, "") from error

    def _number(self, path: str, default: int) -> int:
        try:
            return int(self._patiently(lambda: self.fs.read(f"{self.kdamonds}/{path}")))
        except OSError:
            return default

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, self.sleep)

    def _restore(self, work: SlotPlan, before: Ledger, announced: Ledger) -> Ledger:
        """Put the staged tree back; start the kdamond again if the failure ended it.

        Returns what is owned then: a kdamond started again has another thread and runs what had
        been staged, which need not be what its record says was committed.
        """
        if work.slot < 0:
            return announced
        try:
            if work.restore is None:
                return announced if self._state(work.slot) == "on" else before
            staged = read_tree(self.fs, f"{self.kdamonds}/{work.slot}")
            for write in stage(staged, work.restore, f"{work.slot}/"):
                self._stage(f"{self.kdamonds}/{write.path}", write.value)
            record = before.slots.get(work.slot)
            if self._state(work.slot) == "on" or record is None:
                return before
            self._command(work.slot, "on")
            pid, digest = self._number(f"{work.slot}/pid", -1), tree_digest(work.restore)
            return _with_record(before, work.slot, replace(record, kdamond_pid=pid, digest=digest))
        except (KernelError, OSError):
            # The next round observes whatever is left and plans from there.
            return announced


def patiently(call: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Call again while the kernel says EBUSY: its one lock is only ever tried, not waited for."""
    try:
        return call()
    except OSError as error:
        if not _is_busy(error):
            raise
    # Late: 0.7 MiB resident, and an agent that is alone with DAMON never meets EBUSY.
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

    sleep(_FIRST_WAIT_S)
    retrying = Retrying(
        retry=retry_if_exception(_is_busy),
        wait=wait_exponential(multiplier=2 * _FIRST_WAIT_S, max=0.25),
        stop=stop_after_delay(BUSY_S),
        sleep=sleep,
        reraise=True,
    )
    return retrying(call)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EBUSY


def _with_record(ledger: Ledger, slot: int, record: SlotRecord) -> Ledger:
    return replace(ledger, slots={**ledger.slots, slot: record})
