# SPDX-License-Identifier: Apache-2.0
"""Child processes that cannot outlive the lab."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.vm.errors import HostNotReadyError
from tests.vm.host import VIRTIOFSD

RUN_VIRTIOFSD = Path("/var/run/virtiofsd")

_SOCKET_WAIT_S = 10.0


@contextmanager
def child(
    argv: Sequence[str], *, log: Path, interactive: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A running child, ended (TERM, then KILL) when the block is left.

    Should this process be killed, the kernel kills the child (prctl PR_SET_PDEATHSIG).
    """
    tied = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
    with log.open("wb") as output:
        stdin = None if interactive else subprocess.DEVNULL
        stdout = None if interactive else output
        process = subprocess.Popen(tied, stdin=stdin, stdout=stdout, stderr=stdout)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """The process is gone and reaped afterwards."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
    if process.poll() is None:
        process.kill()
    process.wait()


@contextmanager
def virtiofs_share(source: Path, socket: Path, *, cache: str) -> Iterator[None]:
    """`source` served on `socket`; `cache` is `always` for unchanging trees, else `none`."""
    argv = [
        *(str(VIRTIOFSD), f"--socket-path={socket}", "-o", f"source={source}"),
        *("-o", f"cache={cache}", "-o", "sandbox=chroot", "-o", "log_level=warn"),
    ]
    log = socket.with_suffix(".log")
    with child(argv, log=log) as process:
        _await_socket(socket, process, log)
        try:
            yield
        finally:
            end(process)
            _lock_file(socket).unlink(missing_ok=True)


def _await_socket(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SOCKET_WAIT_S
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise HostNotReadyError(f"virtiofsd does not serve {socket}:\n{said}")
        time.sleep(0.01)


def _lock_file(socket: Path) -> Path:
    """The pid file that virtiofsd leaves behind, named after the socket with dots for slashes."""
    return RUN_VIRTIOFSD / f"{str(socket).replace('/', '.')}.pid"
