"""A throw-away child whose use of memory is known: what probes are proved on."""

from __future__ import annotations

import mmap
import os
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.process import read_stat
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import HostError

HALF_BYTES: Final = 4 << 20

_PROGRAM: Final = os.path.join(os.path.dirname(__file__), "specimen_child.py")
_START_S: Final = 20.0


class Specimen:
    """A child with two mappings of private anonymous memory, aligned to 2 MiB. A context manager.

    `hot` is touched every millisecond, `cold` was once; both `(start, end)`, all in memory.
    `huge`: in huge pages, if the machine has them to give. It takes 16-20 MiB and some percent of
    a core, and ends with this object or with this process. `cgroup_procs`: of the cgroup in which
    all that is. `HostError` when it does not start.
    """

    placement: Placement
    hot: tuple[int, int]
    cold: tuple[int, int]

    def __init__(
        self, *, huge: bool = False, half_bytes: int = HALF_BYTES, cgroup_procs: str = ""
    ) -> None:
        command = [sys.executable, "-I", "-S", _PROGRAM, str(half_bytes), "1" if huge else "0"]
        with ExitStack() as stack:
            shared = os.memfd_create("sweeps")
            stack.callback(os.close, shared)
            os.truncate(shared, mmap.PAGESIZE)
            self._sweeps = stack.enter_context(mmap.mmap(shared, 8, prot=mmap.PROT_READ))
            try:
                self._child = subprocess.Popen(
                    [*command, str(shared), *filter(None, [cgroup_procs])],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    pass_fds=(shared,),
                )
            except OSError as error:
                raise _broken(error.strerror or str(error)) from error
            stack.callback(self._end)
            hot, cold = self._addresses()
            stat = read_stat(RealFilesystem(), Roots(), self.pid)
            if stat is None:
                raise _broken("it ended at once")
            self.placement = Placement(self.pid, stat.start_ticks)
            self.hot, self.cold = (hot, hot + half_bytes), (cold, cold + half_bytes)
            self._running = stack.pop_all()

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def rest(self, seconds: float) -> None:
        """Wait for so long, and on a busy machine until the child has got round to its work.

        The sweep that runs now may have been past a page, and the TLB is emptied after it: the
        third one to end touches every page so that it shows. Gives up after `_START_S`.
        """
        enough = self._count() + 3
        time.sleep(seconds)
        deadline = time.monotonic() + _START_S
        while self._count() < enough and time.monotonic() < deadline:
            if self._child.poll() is not None:
                return
            time.sleep(0.01)

    def _count(self) -> int:
        return int.from_bytes(self._sweeps[:8], "little")

    def close(self) -> None:
        """End the child; may be called again."""
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _addresses(self) -> tuple[int, int]:
        """What it prints."""
        output = self._child.stdout
        if output is None:
            raise _broken("it has no output")
        text, deadline = b"", time.monotonic() + _START_S
        while not text.endswith(b"\n"):
            left = max(deadline - time.monotonic(), 0)
            if not select.select([output], [], [], left)[0]:
                raise _broken(f"it said nothing for {_START_S:.0f} s")
            chunk = output.read(64)
            if not chunk:
                raise _broken("it ended at once")
            text += chunk
        hot, cold = text.split()
        return int(hot, 16), int(cold, 16)

    def _end(self) -> None:
        self._child.kill()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


def _broken(reason: str) -> HostError:
    text = f"the child that probes are tried on does not work: {reason}"
    return HostError(text, hint="is the installation complete?")
