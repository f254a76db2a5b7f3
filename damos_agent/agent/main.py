"""`damos-agent`: the daemon's command line, and putting its parts together."""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable

import damos_agent
from damos_agent.agent.adjust import Adjuster, MetricsPorts
from damos_agent.agent.compiler import compile_policies
from damos_agent.agent.core import Core, Totals
from damos_agent.agent.dryrun import print_round
from damos_agent.agent.events import Event, Logger, emit
from damos_agent.agent.journal import WriteJournal
from damos_agent.agent.ledger import AgentLock, load_ledger, save_ledger
from damos_agent.agent.link import MonitorLink
from damos_agent.agent.listeners import listen_unix
from damos_agent.agent.loader import Loaded, read_loaded
from damos_agent.agent.log import SwitchedLog
from damos_agent.agent.loop import Loop
from damos_agent.agent.notify import Notifier, watchdog_us
from damos_agent.agent.outside import Outside
from damos_agent.agent.priming import PRIMING_ONCE_US, PRIMING_STOP_US, finish_priming
from damos_agent.agent.reconciler import Reconciler
from damos_agent.agent.seating import Seating
from damos_agent.agent.sockets import Server
from damos_agent.agent.status import StatusAnswer
from damos_agent.agent.survey import Machine
from damos_agent.agent.warden import Warden
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.pidfd import ProcessWatcher
from damos_agent.host.roots import Roots
from damos_agent.host.system import read_boot_id, read_kernel_release
from damos_agent.host.targets import TargetReader
from damos_agent.kernel.apply import Applier
from damos_agent.kernel.observe import kdamonds_of
from damos_agent.model.codec import decode
from damos_agent.model.errors import CompileError, DamosError, HostError
from damos_agent.model.feature import Feature, Features, Source
from damos_agent.model.settings import LogFormat, LogLevel, OnExit

EX_FAILURE, EX_NOPERM, EX_CONFIG = 1, 77, 78
_SETTLE_S = 0.15
"""How long a kdamond of a kernel before 6.15 may take to die of a commit it refused."""


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The daemon's few flags; everything else is in agent.yaml."""
    parser = argparse.ArgumentParser(
        prog="damos-agent",
        description="Keeps the machine's memory management matching the policies in "
        "/etc/damos-agent/policies.d (and /run, /usr/local/lib, /usr/lib).",
        epilog="Settings: /etc/damos-agent/agent.yaml. Look at a running agent with damosctl.",
    )
    parser.add_argument("--once", action="store_true", help="one round, then exit")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, show what would be")
    parser.add_argument("--log-format", choices=list(LogFormat), help="overrides agent.yaml")
    parser.add_argument("--log-level", choices=list(LogLevel), help="overrides agent.yaml")
    roots = Roots()
    parser.add_argument("--config-root", default=roots.config, help="where etc/ and usr/ are")
    parser.add_argument("--sysfs-root", default=roots.sysfs)
    parser.add_argument("--proc-root", default=roots.proc)
    parser.add_argument("--cgroup-root", default=roots.cgroup)
    parser.add_argument("--run-root", default=roots.run, help="state, sockets and lock")
    parser.add_argument("--version", action="version", version=damos_agent.__version__)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the agent; the exit status (see docs/operations.md)."""
    arguments = parse_arguments(argv)
    roots = Roots(
        arguments.sysfs_root,
        arguments.proc_root,
        arguments.cgroup_root,
        arguments.config_root,
        arguments.run_root,
    )
    log = SwitchedLog(
        LogFormat(arguments.log_format or LogFormat.AUTO),
        LogLevel(arguments.log_level or LogLevel.INFO),
    )
    try:
        loaded = _first_look(roots, log)
        settings = loaded.settings
        log.switch(
            LogFormat(arguments.log_format or settings.log_format),
            LogLevel(arguments.log_level or settings.log_level),
        )
        if arguments.once:
            return _run_once(arguments, roots, log)
        return _run(arguments, roots, log, loaded)
    except DamosError as error:
        return _fail(log, error)


def _fail(logger: Logger, error: DamosError) -> int:
    denied = isinstance(error, PermissionRequiredError)
    code = EX_NOPERM if denied else EX_CONFIG if isinstance(error, CompileError) else EX_FAILURE
    emit(
        logger,
        Event.AGENT_FAILED,
        message=error.message,
        hint=error.hint,
        path=error.path,
        exit_code=code,
    )
    return code


NO_ACCESS = (
    "DAMON's files may not be written: only root may, and only where sysfs is mounted writable"
)


class PermissionRequiredError(HostError):
    """The agent lacks a privilege without which it can do nothing."""


def _first_look(roots: Roots, logger: Logger) -> Loaded:
    """What the last run of this boot kept; nothing if it cannot be used."""
    try:
        return read_loaded(f"{roots.run}/loaded.json")
    except HostError as error:
        emit(
            logger,
            Event.STATE_UNUSABLE,
            path=error.path or roots.run,
            message=error.message,
            hint=error.hint,
        )
        return Loaded()


def detect_features(roots: Roots, *, keep: bool = True) -> Features:
    """What this kernel offers, found by a child (its type information is large).

    `keep`: remember it for this boot.

    Raises `HostError` when the child cannot tell.
    """
    fs = RealFilesystem()
    release = read_kernel_release(fs, roots)
    boot_id = read_boot_id(fs, roots)
    path = f"{roots.run}/features.json"
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        if kept["boot_id"] == boot_id and kept["version"] == damos_agent.__version__:
            return decode(Features, kept["features"])
    except (OSError, ValueError, TypeError, KeyError):
        pass
    command = [sys.executable, "-s", "-P", "-m", "damos_agent.kernel.probe", roots.sysfs, release]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise HostError(
            f"looking for DAMON's features failed: {done.stderr.strip()[-300:]}",
            hint="is the installation complete?",
        )
    data = json.loads(done.stdout)
    if keep:
        _keep_features(path, boot_id, data)
    return decode(Features, data)


def _keep_features(path: str, boot_id: str, data: object) -> None:
    kept = {"boot_id": boot_id, "version": damos_agent.__version__, "features": data}
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(kept, file)
    except OSError:
        pass  # only a convenience for the next start


def _assemble(
    roots: Roots, features: Features, logger: Logger, loaded: Loaded, *, dry_run: bool, stays: bool
) -> Core:
    """`stays`: with a monitor process for policies that need user space."""
    fs = RealFilesystem()
    reader = TargetReader(fs, roots)
    machine = Machine(fs, roots, features, reader, time.sleep)
    journal = WriteJournal(logger, kdamonds_of(roots.sysfs))
    applier = Applier(
        fs,
        roots.sysfs,
        roots.proc,
        time.sleep,
        lambda ledger: save_ledger(roots.run, ledger),
        journal,
        settle_s=0.0 if Feature.RELIABLE_COMMIT in features else _SETTLE_S,
    )
    ledger = load_ledger(roots.run)
    reconciler = Reconciler(machine, applier, ledger, logger, dry_run=dry_run)
    link = MonitorLink(roots, logger) if stays and not dry_run else None
    seating = Seating(reconciler, link, logger)
    outside = Outside()
    warden = Warden(machine, logger, keeps=not dry_run, outside=outside.read)
    warden.adopt()
    core = Core(
        machine, seating, logger, journal.counts, warden, outside, loaded, keeps=not dry_run
    )
    core.totals = Totals(started=time.time())
    core.reconciler.adopt()
    return core


def _prepare_run(roots: Roots) -> None:
    try:
        os.makedirs(roots.run, mode=0o755, exist_ok=True)
    except OSError as error:
        raise PermissionRequiredError(
            f"cannot make the run directory: {error.strerror}",
            path=roots.run,
            hint="run as root, or give --run-root",
        ) from error


def _may_write_damon(roots: Roots, features: Features) -> bool:
    path = f"{kdamonds_of(roots.sysfs)}/nr_kdamonds"
    return Feature.SYSFS not in features or os.access(path, os.R_OK | os.W_OK)


def _require_access(roots: Roots, features: Features) -> None:
    if not _may_write_damon(roots, features):
        raise PermissionRequiredError(
            "DAMON's files may not be written",
            path=f"{kdamonds_of(roots.sysfs)}/nr_kdamonds",
            hint="run as root; in a container, mount /sys/kernel/mm/damon writable",
        )


def _run_once(arguments: argparse.Namespace, roots: Roots, logger: Logger) -> int:
    if arguments.dry_run:
        return _plan_once(roots, logger)
    _prepare_run(roots)
    features = detect_features(roots)
    kept = _first_look(roots, logger)
    compiled = compile_policies(roots.config, kept.held)
    lock = AgentLock.take(roots.run)
    try:
        _require_access(roots, features)
        core = _assemble(roots, features, logger, kept, dry_run=False, stays=False)
        core.take(compiled, "start", 0)
        done = core.reconcile()
        primed = finish_priming(core, time.sleep, PRIMING_ONCE_US)
        return 0 if done is not None and primed and core.loaded.ok else EX_FAILURE
    finally:
        lock.release()


def _plan_once(roots: Roots, logger: Logger) -> int:
    """Nothing is written, not even below /run: an agent may be running."""
    features = detect_features(roots, keep=False)
    kept = _first_look(roots, logger)
    compiled = compile_policies(roots.config, kept.held)
    core = _assemble(roots, features, logger, kept, dry_run=True, stays=False)
    core.take(compiled, "start", 0)
    done = core.reconcile()
    if done is None:
        return EX_FAILURE
    print_round(done)
    return 0 if core.loaded.ok else EX_FAILURE


def _run(arguments: argparse.Namespace, roots: Roots, log: SwitchedLog, loaded: Loaded) -> int:
    if arguments.dry_run:
        features = detect_features(roots, keep=False)
        core = _assemble(roots, features, log, loaded, dry_run=True, stays=True)
        return _stay(arguments, core, log)
    _prepare_run(roots)
    lock = AgentLock.take(roots.run)
    try:
        features = detect_features(roots)
        if not _may_write_damon(roots, features):
            # An ordinary user's processes can still be served, in user space.
            features = Features(features.release, Source.ABSENT, detail=NO_ACCESS)
        core = _assemble(roots, features, log, loaded, dry_run=False, stays=True)
        return _stay(arguments, core, log)
    finally:
        lock.release()


def _stay(arguments: argparse.Namespace, core: Core, log: SwitchedLog) -> int:
    _announce(core, arguments)
    loop = _make_loop(core)
    adjust = Adjuster(loop, log, fixed_format=arguments.log_format, fixed_level=arguments.log_level)
    loop.adjust = adjust.adjust
    try:
        loop.open()
        if not arguments.dry_run:
            _serve(loop, core)
            adjust.metrics = MetricsPorts(loop.selector, loop.servers, core)
        loop.run()
        return _stop(loop, core)
    finally:
        loop.close()


def _announce(core: Core, arguments: argparse.Namespace) -> None:
    features = core.machine.features
    emit(
        core.logger,
        Event.AGENT_STARTED,
        kernel=features.release,
        config_root=core.machine.roots.config,
        dry_run=arguments.dry_run,
    )
    emit(
        core.logger,
        Event.FEATURES_DETECTED,
        source=features.source.value,
        ops=sorted(features.ops),
        features=sorted(features.present),
    )
    usable = Feature.COMMIT in features
    reason = (
        "DAMON's sysfs interface is there; what it cannot serve goes to user space"
        if usable
        else features.detail
    )
    emit(
        core.logger,
        Event.BACKEND_SELECTED,
        backend="kernel" if usable else "none",
        reason=reason,
    )


def _make_loop(core: Core) -> Loop:
    return Loop(
        core,
        selectors.DefaultSelector(),
        Notifier.from_environ(os.environ),
        ProcessWatcher(core.machine.fs, core.machine.roots),
        watchdog_us=watchdog_us(os.environ, os.getpid()),
    )


def _serve(loop: Loop, core: Core) -> None:
    path = f"{core.machine.roots.run}/status.sock"
    does: dict[str, Callable[[dict[str, str]], None]] = {
        "reload": lambda _request: loop.request_reload(),
        "pause": lambda request: loop.switch(lambda: core.pause(request.get("policy", ""))),
        "resume": lambda request: loop.switch(lambda: core.resume(request.get("policy", ""))),
    }
    does["feed"] = lambda request: core.feed(request.get("name", ""), request.get("number", ""))
    asks: dict[str, Callable[[dict[str, str]], object]] = {
        "regions": lambda request: core.regions(request.get("policy", ""))
    }
    answer = StatusAnswer({"status": core.status}, does, asks=asks)
    loop.servers.append(Server(loop.selector, listen_unix(path), answer, path=path))
    emit(core.logger, Event.LISTENING, purpose="status", address=f"unix:{path}")


def _stop(loop: Loop, core: Core) -> int:
    loop.notifier.stopping()
    keep = core.settings.on_exit is OnExit.KEEP
    if keep and core.keeps:
        finish_priming(core, time.sleep, PRIMING_STOP_US)
    core.seating.close()
    count = len(core.reconciler.ledger.slots)
    code = 0
    try:
        if not keep:
            count = core.reconciler.release(core.settings)
    except DamosError as error:
        emit(
            core.logger,
            Event.RECONCILE_FAILED,
            message=str(error),
            hint=error.hint,
            path=error.path,
        )
        code = EX_FAILURE
    emit(
        core.logger,
        Event.AGENT_STOPPED,
        reason=loop.stop_reason,
        on_exit=core.settings.on_exit.value,
        kdamonds=count,
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
