"""A simulated DAMON sysfs in memory, with the semantics of a chosen kernel release."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from tests.sim.errors import refuse
from tests.sim.faults import Faults
from tests.sim.host import Host, Processes
from tests.sim.kdamond import Kdamond, Machine
from tests.sim.modules import Modules
from tests.sim.regions import Region
from tests.sim.shapes import FileShape, Kind, Shape, admin
from tests.sim.status import Config
from tests.sim.tree import Dir, parsed
from tests.sim.versions import behaviour, parse_version

ROOT = "/sys/kernel/mm/damon/admin"


class SimulatedDamon:
    """`Filesystem` for DAMON's files below `root` and for `/sys/module/damon_*`.

    `kernel` is a release such as "6.12", taken with its stable fixes. `root` may be relocated;
    it ends in `kernel/mm/damon/admin`, and `module` lies beside `kernel`. `modules_running`
    holds short names of exclusive modules ("stat"). Time passes only by `advance` and by
    commands that wait for the next apply. `log` keeps every write that took effect.
    """

    def __init__(
        self,
        kernel: str = "7.3",
        root: str = ROOT,
        *,
        host: Host | None = None,
        processes: Processes | None = None,
        modules_running: Iterable[str] = (),
        commit_lies: bool | None = None,
    ) -> None:
        self.kernel = parse_version(kernel)
        self.root = root.rstrip("/")
        self.host = host or Host(processes=processes or Processes())
        self.rules = behaviour(self.kernel, commit_lies)
        self.faults = Faults()
        self.log: list[tuple[str, str]] = []
        self.now_us = 0
        self.modules = Modules(self.kernel, set(modules_running), self.host)
        self.admin = Dir(admin(self.kernel, self.host.registered))
        self.kdamonds: list[Kdamond] = []
        base = self.root.removesuffix("/kernel/mm/damon/admin")
        self._tops = {
            self.root.removesuffix("/admin"): Dir(Shape()),
            f"{base}/module": self.modules.dir,
        }
        self._tops[self.root.removesuffix("/admin")].dirs["admin"] = self.admin

    # the Filesystem protocol

    def owns(self, path: str) -> bool:
        """Whether `path` is one of DAMON's, existing or not."""
        mm, module = self._tops
        return path == mm or path.startswith((mm + "/", module + "/damon_"))

    def read(self, path: str) -> str:
        """The shown text."""
        directory, shape = self._file(path, errno.EISDIR)
        locked = shape.kind is Kind.STATE or self._is_locked_path(shape)
        if locked or (shape.name == "pid" and "state" in directory.values):
            self.faults.take_lock(path)
        self._show()
        return directory.values[shape.name] + "\n"

    def write(self, path: str, text: str) -> None:
        """One write(2), counted, logged, and exposed to fault injection."""
        self.faults.before_write(path)
        self.foreign_write(path, text)
        self.log.append((path, text))
        self.faults.after_write(path)

    def foreign_write(self, path: str, text: str) -> None:
        """A write by somebody else: not logged, not counted, but refused like any other."""
        directory, shape = self._file(path, errno.EISDIR)
        if not shape.writable:
            raise refuse(errno.EACCES, path)
        if not text:
            return
        try:
            self._store(directory, shape, text, path)
        except OSError as error:
            raise refuse(error.errno or errno.EIO, path) from None

    def listdir(self, path: str) -> list[str]:
        """Names of files and directories."""
        directory, name = self._locate(path)
        if name:
            raise refuse(errno.ENOTDIR, path)
        return [*directory.values, *directory.dirs]

    def exists(self, path: str) -> bool:
        """Whether `path` is there."""
        try:
            self._locate(path)
        except OSError:
            return False
        return True

    def readlink(self, path: str) -> str:
        """There are no links: EINVAL."""
        self._locate(path)
        raise refuse(errno.EINVAL, path)

    def _locate(self, path: str) -> tuple[Dir, str]:
        """The directory `path` names, or the one it lies in with the file's name."""
        top = next((t for t in self._tops if path == t or path.startswith(t + "/")), None)
        if top is None:
            raise refuse(errno.ENOENT, path)
        here, parts = self._tops[top], [part for part in path[len(top) :].split("/") if part]
        for index, part in enumerate(parts):
            if part in here.values:
                if index + 1 < len(parts):
                    raise refuse(errno.ENOTDIR, path)
                return here, part
            if part not in here.dirs:
                raise refuse(errno.ENOENT, path)
            here = here.dirs[part]
        return here, ""

    def _file(self, path: str, otherwise: int) -> tuple[Dir, FileShape]:
        directory, name = self._locate(path)
        if not name:
            raise refuse(otherwise, path)
        return directory, directory.shape.files[name]

    def _is_locked_path(self, shape: FileShape) -> bool:
        return shape.kind is Kind.PATH and self.rules.locked_paths

    # writing

    def _store(self, directory: Dir, shape: FileShape, text: str, path: str) -> None:
        if shape.name == "enabled" or "/module/damon_" in path:
            self.modules.store(directory, shape.name, text, sysfs_busy=self._any_running())
            return
        if shape.kind is Kind.STATE:
            self.faults.take_lock(path)
            next(k for k in self.kdamonds if k.dir is directory).command(text)
            return
        if shape.kind is Kind.COUNT:
            parsed(shape, text)
        if shape.kind is Kind.COUNT or self._is_locked_path(shape):
            self.faults.take_lock(path)
        if shape.name == "nr_kdamonds" and self._any_running():
            raise refuse(errno.EBUSY)
        directory.store(shape.name, text)
        if shape.name == "nr_kdamonds":
            self.kdamonds = [Kdamond(item, self._machine()) for item in directory.numbered()]

    def _machine(self) -> Machine:
        return Machine(
            self.host,
            self.kernel,
            self.rules,
            lambda: self.now_us,
            self._advance_to,
            self.modules.any_running,
        )

    def _any_running(self) -> bool:
        return any(kdamond.running() for kdamond in self.kdamonds)

    def _show(self) -> None:
        for kdamond in self.kdamonds:
            kdamond.show()

    # the tests' view

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass for every kdamond."""
        self._advance_to(self.now_us + round(seconds * 1_000_000))

    def _advance_to(self, until: int) -> None:
        for kdamond in self.kdamonds:
            kdamond.advance(until)
        self.now_us = max(until, self.now_us)

    def spawn(self) -> int:
        """A new live process."""
        return self.host.processes.spawn()

    def kill(self, pid: int) -> None:
        """End a process."""
        self.host.processes.kill(pid)

    def running(self, index: int = 0) -> Config:
        """What kdamond `index` runs: path below `contexts/0` → value; empty when it is off."""
        kdamond = self.kdamonds[index]
        return dict(kdamond.config) if kdamond.running() else {}

    def regions(self, index: int = 0, target: int = 0) -> list[Region]:
        """The running regions of a target; none when the kdamond is off."""
        kdamond = self.kdamonds[index]
        if not kdamond.running() or kdamond.context is None:
            return []
        return list(kdamond.context.targets[target].regions)

    def tune(self, index: int, sample_us: int, aggr_us: int) -> None:
        """Pretend the kernel's interval tuner changed the running intervals of a kdamond."""
        self.kdamonds[index].tune(sample_us, aggr_us)

    def snapshot(self, *, status: bool = True) -> Config:
        """The whole tree: path below the root → text shown. `status`: with read-only files."""
        self._show()
        return {
            path: text
            for path, text in self.admin.flat()
            if status or path.endswith("/") or self._writable(path)
        }

    def _writable(self, path: str) -> bool:
        directory, _, name = path.rpartition("/")
        return self.admin.at(directory).shape.files[name].writable

    def situation(self) -> tuple[Config, list[Config]]:
        """Inputs and states of the tree and what runs: equal after runs with the same outcome."""
        running = [self.running(index) for index in range(len(self.kdamonds))]
        return self.snapshot(status=False), running

    # faults

    def fail_after(self, writes: int, code: int | None = None) -> None:
        """After `writes` more successful writes: raise `Crash`, or refuse the next with `code`."""
        self.faults.writes_left, self.faults.code = writes, code

    def busy_times(self, count: int) -> None:
        """The next `count` accesses that need the lock get EBUSY."""
        self.faults.busy = count
