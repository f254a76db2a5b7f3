# SPDX-License-Identifier: Apache-2.0
"""Runs one command in a guest that sees the host's own files.

The guest mounts the host's root read-only and puts a writable layer in its own memory over
it, so Python, the virtual environment and the checkout are at the same paths, and nothing
that the guest writes reaches the host, except below the directories it was given to write to.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.vm import systemd
from tests.vm.errors import (
    GuestBootError,
    GuestDiedError,
    GuestError,
    GuestPanicError,
    GuestStoppedError,
    GuestTimeoutError,
)
from tests.vm.follow import Follower
from tests.vm.host import ensure_host_packages, require_root
from tests.vm.initramfs import build
from tests.vm.kvm import kvm_works
from tests.vm.packages import Kernel, fetch
from tests.vm.process import RUN_VIRTIOFSD, child, virtiofs_share
from tests.vm.qemu import Boot, Machine
from tests.vm.qemu import command as qemu_command

PROJECT = Path(__file__).resolve().parents[2]
JOB_DIRECTORY = "/run/damos-lab"
_PREPARING = threading.Lock()
GUEST_VARIABLE = "DAMOS_LAB_KERNEL"

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Directories over which the guest mounts memory of its own.
_HIDDEN = tuple(Path(path) for path in ("/tmp", "/run", "/var/tmp", "/dev", "/proc", "/sys"))


@dataclass(frozen=True, slots=True)
class Job:
    """What is run in the guest, and with which of the host's directories writable.

    `writable` maps guest paths to existing directories of the host. Without a command the
    guest's console is the caller's terminal and runs a shell. With `systemd` the command runs
    as a service below the host's systemd. Once `stopping` is set the guest is ended.
    """

    command: Sequence[str]
    cwd: Path = PROJECT
    env: Mapping[str, str] = field(default_factory=dict)
    modules: Sequence[str] = ("zram",)
    writable: Mapping[str, Path] = field(default_factory=dict)
    kernel_args: Sequence[str] = ()
    timeout_s: float = 300.0
    echo: bool = False
    systemd: bool = False
    stopping: threading.Event | None = None

    @property
    def interactive(self) -> bool:
        return not self.command


@dataclass(frozen=True, slots=True)
class GuestResult:
    """A command that ran to its end in a guest. `seconds` is the host's time, boot included."""

    kernel: str
    returncode: int
    stdout: str
    stderr: str
    console: str
    seconds: float


def run(
    kernel: str,
    command: Sequence[str],
    *,
    memory_mib: int = 2048,
    cpus: int = 2,
    numa_nodes: int = 1,
    virtual_time: bool = False,
    timeout_s: float = 300.0,
    modules: Sequence[str] = ("zram",),
    cwd: Path = PROJECT,
    env: Mapping[str, str] | None = None,
    writable: Mapping[str, Path] | None = None,
    kernel_args: Sequence[str] = (),
    echo: bool = False,
) -> GuestResult:
    """Boot a guest of that kernel series, run argv `command` in it as root, return its outcome.

    `modules` are loaded first. `env` is added to a small clean environment; `writable` maps
    guest paths to host directories that both see read-write. With `echo` the command's output
    is also copied to ours while it runs. Raises LabError: a command that fails is a result, a
    guest that does not reach the command's end is an error.
    """
    machine = Machine(memory_mib, cpus, numa_nodes, virtual_time)
    job = Job(command, cwd, env or {}, modules, writable or {}, kernel_args, timeout_s, echo)
    return boot(kernel, machine, job)


def boot(series: str, machine: Machine, job: Job) -> GuestResult:
    """As `run`, from values; also for a job without a command (an interactive shell)."""
    with _PREPARING:  # guests may be started by several threads
        ensure_host_packages()
        require_root()
        kernel = fetch(series)
        has_kvm = not machine.virtual_time and kvm_works(kernel)
    if has_kvm:
        machine = Machine(machine.memory_mib, machine.cpus, machine.numa_nodes, kvm=True)
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=own_prefix()) as directory:
        return _Run(kernel, machine, job, Path(directory)).outcome()


def own_prefix() -> str:
    """How names of directories of this thread's guests begin."""
    return f"damos-lab-{os.getpid()}-{threading.get_native_id()}-"


def _sweep(temporary: Path) -> None:
    """Directories and pid files of lab processes that were killed are gone."""
    kept = [*temporary.glob("damos-lab-*"), *RUN_VIRTIOFSD.glob(".*damos-lab-*")]
    for path in kept:
        owner = re.search(r"damos-lab-(\d+)-", path.name)
        if owner is None or Path("/proc", owner[1]).exists():
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Run:
    kernel: Kernel
    machine: Machine
    job: Job
    directory: Path

    @property
    def exchange(self) -> Path:
        return self.directory / "job"

    @property
    def console(self) -> Path:
        return self.directory / "console"

    def outcome(self) -> GuestResult:
        self.exchange.mkdir()
        script = job_script(self.kernel, self.job)
        (self.exchange / "job.sh").write_text(script, encoding="utf-8")
        (self.exchange / "first.sh").write_text(first_script(self.job), encoding="utf-8")
        initramfs = self.directory / "initramfs"
        shares = self._shares()
        pairs = [(tag, path) for tag, path, _ in shares if tag != "rootfs"]
        initramfs.write_bytes(build(self.kernel, shares=pairs, rebinds=self._rebinds()))
        started = time.monotonic()
        with ExitStack() as stack:
            sockets = []
            for tag, _, source in shares:
                socket = self.directory / f"{tag}.sock"
                cache = "always" if tag == "rootfs" else "none"
                stack.enter_context(virtiofs_share(source, socket, cache=cache))
                sockets.append((tag, socket))
            argv = qemu_command(self.machine, self._boot(initramfs, sockets))
            log = self.directory / "qemu.log"
            qemu = stack.enter_context(child(argv, log=log, interactive=self.job.interactive))
            self._wait(qemu)
        return self._result(time.monotonic() - started)

    def _shares(self) -> list[tuple[str, str, Path]]:
        """(tag, guest path, host directory) of every share, the root first."""
        writable = [
            (f"share{number}", path, source.resolve(strict=True))
            for number, (path, source) in enumerate(self.job.writable.items())
        ]
        own = [("rootfs", "/", Path("/")), ("job", JOB_DIRECTORY, self.exchange)]
        return [*own, *writable]

    def _rebinds(self) -> list[str]:
        """Paths the job needs that lie below directories the guest mounts over."""
        needed = [PROJECT, self.job.cwd, Path(sys.prefix), Path(sys.base_prefix)]
        if self.kernel.modules is not None:
            needed.append(self.kernel.modules)
        resolved = {path.resolve() for path in needed}
        return sorted(
            str(path) for path in resolved if any(path.is_relative_to(top) for top in _HIDDEN)
        )

    def _boot(self, initramfs: Path, sockets: Sequence[tuple[str, Path]]) -> Boot:
        console = None if self.job.interactive else self.console
        shell = ["damos_lab.shell"] if self.job.interactive else []
        arguments = [*shell, *self.job.kernel_args]
        return Boot(self.kernel.image, initramfs, sockets, arguments, console)

    def _wait(self, qemu: subprocess.Popen[bytes]) -> None:
        """Return when the guest is off; raise GuestTimeoutError when its time is up."""
        deadline = time.monotonic() + self.job.timeout_s
        followers = self._followers()
        while qemu.poll() is None:
            if not self.job.interactive and time.monotonic() > deadline:
                reason = f"guest {self.kernel.release} not done after {self.job.timeout_s:g} s"
                raise self._error(GuestTimeoutError, reason)
            if self.job.stopping is not None and self.job.stopping.is_set():
                raise self._error(GuestStoppedError, f"guest {self.kernel.release} was ended")
            time.sleep(0.05)
            for follower in followers:
                follower.copy()
        for follower in followers:
            follower.copy()

    def _followers(self) -> list[Follower]:
        if not self.job.echo:
            return []
        streams = ((self.exchange / "stdout", sys.stdout), (self.exchange / "stderr", sys.stderr))
        return [Follower(path, stream.buffer) for path, stream in streams]

    def _result(self, seconds: float) -> GuestResult:
        status = _read(self.exchange / "status").strip()
        console = _read(self.console)
        release = self.kernel.release
        begun = (self.exchange / "started").exists()
        if self.job.interactive and begun:
            return GuestResult(release, int(status or 0), "", "", "", seconds)
        if status:
            stdout, stderr = _read(self.exchange / "stdout"), _read(self.exchange / "stderr")
            return GuestResult(release, int(status), stdout, stderr, console, seconds)
        if panic := re.search(r"Kernel panic.*", console):
            raise self._error(GuestPanicError, f"kernel {release}: {panic[0]}")
        if begun:
            raise self._error(GuestDiedError, f"guest {release} went off during the command")
        said = _read(self.directory / "qemu.log") + _read(self.exchange / "setup")
        raise self._error(GuestBootError, f"guest {release} did not start the command\n{said}")

    def _error(self, kind: type[GuestError], reason: str) -> GuestError:
        return kind(
            reason,
            console=_read(self.console),
            stdout=_read(self.exchange / "stdout"),
            stderr=_read(self.exchange / "stderr"),
        )


def first_script(job: Job) -> str:
    """The shell script that is the guest's process 1: run the job, then switch the guest off."""
    if job.systemd:
        return systemd.first_script(f"{JOB_DIRECTORY}/job.sh")
    console = "setsid -c " if job.interactive else ""
    streams = "</dev/ttyS0 >/dev/ttyS0 2>&1" if job.interactive else "</dev/null"
    return (
        f"{console}/bin/sh {JOB_DIRECTORY}/job.sh {streams}\nsync\n/bin/busybox poweroff -f\n"
        "while :; do sleep 60; done\n"
    )


def job_script(kernel: Kernel, job: Job) -> str:
    """The shell script that prepares the guest's environment and runs the command.

    Its exit status is put in place by a rename, so a guest that dies leaves none.
    """
    environment = {
        "PATH": f"{Path(sys.prefix) / 'bin'}:{_SYSTEM_PATH}",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "vt220") if job.interactive else "dumb",
        GUEST_VARIABLE: kernel.series,
        **job.env,
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines = [f"exec 2>{JOB_DIRECTORY}/setup", *exports, *_module_lines(kernel, job)]
    lines.append(f"cd {shlex.quote(str(job.cwd))} || exit 1")
    lines.append(f"touch {JOB_DIRECTORY}/started")
    if job.interactive:
        lines.append("bash -i </dev/ttyS0 >/dev/ttyS0 2>&1")
    else:
        streams = f">{JOB_DIRECTORY}/stdout 2>{JOB_DIRECTORY}/stderr"
        lines.append(f"{shlex.join(job.command)} </dev/null {streams}")
    lines.append(f"echo $? >{JOB_DIRECTORY}/status.new")
    lines.append(f"mv {JOB_DIRECTORY}/status.new {JOB_DIRECTORY}/status")
    return "\n".join(lines) + "\n"


def _module_lines(kernel: Kernel, job: Job) -> list[str]:
    lines = []
    if kernel.modules is not None:
        place = f"/lib/modules/{kernel.release}"
        lines.append(f"mkdir -p {place}")
        lines.append(f"mount --bind {shlex.quote(str(kernel.modules))} {place} || exit 1")
    lines.extend(f"modprobe {shlex.quote(module)} || exit 1" for module in job.modules)
    return lines


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
