"""Running the policy compiler in a child process: YAML is parsed outside the resident agent.

The child keeps our user id: policies may be readable by root alone. What it may use is bounded,
it inherits no descriptor but its output, and almost no environment.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from damos_agent.model.codec import decode
from damos_agent.model.compiled import Compiled
from damos_agent.model.errors import CompileError

HINT = "policies already loaded go on; `damosctl validate` shows what the compiler stumbles over"


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What the child may take: seconds of time and of CPU, bytes of address space and output.

    Far above what a full directory needs (under a second), so that a slow or crowded machine does
    not lose its policies; they only end what would never end.
    """

    time_s: float = 180.0
    cpu_s: int = 90
    memory_bytes: int = 512 << 20
    output_bytes: int = 64 << 20


def compiler_command(config_root: str) -> list[str]:
    """The compiler as this very interpreter runs it, without the current directory on its path."""
    options = ["-s", "-P", "-B"]
    words = ["--config-root", config_root, "--held"]
    return [sys.executable, *options, "-m", "damos_agent.config.compile", *words]


class Compilation:
    """One running compiler. Register `fileno()` for reading: it becomes ready at the child's end.

    `deadline` is on `time.monotonic`; call `result` when ready or when that has passed. `held`: see
    `compile_tree`.
    """

    def __init__(
        self,
        command: Sequence[str],
        held: Mapping[str, str] | None = None,
        *,
        limits: ChildLimits = ChildLimits(),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._limits = limits
        told = _told(held or {})
        self._output = os.memfd_create("compiled", os.MFD_CLOEXEC)
        self._errors = os.memfd_create("compiler-errors", os.MFD_CLOEXEC)
        self.deadline = time.monotonic() + limits.time_s
        try:
            self._child = subprocess.Popen(
                command,
                stdin=told,
                stdout=self._output,
                stderr=self._errors,
                env=_environment(os.environ if environ is None else environ),
            )
        except OSError as error:
            self._close_outputs()
            raise CompileError(
                f"the policy compiler cannot be started: {error.strerror or error}",
                path=command[0],
                errno=error.errno,
                hint="is the installation complete?",
            ) from error
        finally:
            os.close(told)
        self._restrict()
        self._pidfd = os.pidfd_open(self._child.pid)

    def fileno(self) -> int:
        """A descriptor that is readable once the child has ended."""
        return self._pidfd

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def result(self) -> Compiled:
        """What the child made; kills it if it still runs. Raises `CompileError`."""
        late = self._child.poll() is None
        try:
            self._end()
            if late:
                raise CompileError(
                    f"the policy compiler took more than {self._limits.time_s:g} s", hint=HINT
                )
            errors = _read(self._errors).decode("utf-8", "replace")
            _check_exit(self._child.returncode, errors, self._limits)
            return _parse(_read(self._output), errors)
        finally:
            self._close()

    def cancel(self) -> None:
        """Give the child up."""
        self._end()
        self._close()

    def _restrict(self) -> None:
        # From outside, right after the start: Python's preexec_fn is unsafe beside threads.
        limits = {
            resource.RLIMIT_AS: self._limits.memory_bytes,
            resource.RLIMIT_CPU: self._limits.cpu_s,
            resource.RLIMIT_FSIZE: self._limits.output_bytes,
            resource.RLIMIT_CORE: 0,
        }
        with suppress(ProcessLookupError):
            for kind, value in limits.items():
                resource.prlimit(self._child.pid, kind, (value, value))

    def _end(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()

    def _close(self) -> None:
        os.close(self._pidfd)
        self._close_outputs()

    def _close_outputs(self) -> None:
        os.close(self._output)
        os.close(self._errors)


def compile_policies(
    config_root: str,
    held: Mapping[str, str] | None = None,
    *,
    limits: ChildLimits = ChildLimits(),
    command: Sequence[str] | None = None,
) -> Compiled:
    """Run the compiler and wait for it; raises `CompileError`."""
    child = Compilation(command or compiler_command(config_root), held, limits=limits)
    poll = select.poll()
    poll.register(child.fileno(), select.POLLIN)
    poll.poll(limits.time_s * 1000)
    return child.result()


def _told(held: Mapping[str, str]) -> int:
    """A descriptor from which the child reads it."""
    descriptor = os.memfd_create("held", os.MFD_CLOEXEC)
    os.write(descriptor, json.dumps(dict(held)).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: environ[name] for name in ("PYTHONPATH",) if name in environ}
    return {"LANG": "C.UTF-8", **kept}


def _read(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0)


def _check_exit(code: int, errors: str, limits: ChildLimits) -> None:
    if code == 0:
        return
    last = errors.strip().splitlines()[-1:]
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and not last):
        message = f"the policy compiler was killed: more than {limits.cpu_s} s of CPU, or no memory"
    elif code < 0:
        message = f"the policy compiler died of {signal.Signals(-code).name}"
    elif last and last[0].startswith("MemoryError"):
        message = f"the policy compiler needs more than {limits.memory_bytes >> 20} MiB"
    else:
        message = f"the policy compiler failed: {last[0] if last else f'exit status {code}'}"
    raise CompileError(message, hint=HINT)


def _parse(output: bytes, errors: str) -> Compiled:
    try:
        return decode(Compiled, json.loads(output))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        told = f"; it said: {errors.strip().splitlines()[-1]}" if errors.strip() else ""
        raise CompileError(
            f"the policy compiler's answer cannot be read: {error}{told}",
            hint="agent and compiler must be of one version; reinstall damos-agent",
        ) from error
