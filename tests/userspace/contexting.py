"""A machine that is not there: processes, their memory, who looks at it, and the time it takes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Protocol

from damos_agent.host.madvise import Advice, Advised
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.policy import (
    Action,
    AddressRange,
    Mode,
    Monitoring,
    Pattern,
    PidTarget,
    Policy,
    Quota,
    Scheme,
)
from damos_agent.model.userspace import Work
from damos_agent.userspace.context import Context, Tools
from damos_agent.userspace.effect import PAGE_BYTES, Residency
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.mapping_context import MappingContext
from damos_agent.userspace.page_context import PageContext
from damos_agent.userspace.probe import Granularity, MappingUse, ProbeInfo
from damos_agent.userspace.worker import AnyContext
from damos_agent.userspace.young import Young, runs

MIB = 1 << 20
BASE = 1 << 30
Range = tuple[int, int]
PAGE_INFO = ProbeInfo("page_idle", Granularity.PAGE, "rw", "")
MAPPING_INFO = ProbeInfo("vma", Granularity.MAPPING, "rw", "")


def gone() -> ProcessLookupError:
    return ProcessLookupError(errno.ESRCH, "gone")


@dataclass
class FakeProcess:
    """`areas` are mapped, `hot` is accessed all the time, of `blind` nobody can tell; all of it is
    resident but for the pages in `out`. `young` pages were accessed since they were last asked for.
    `image` changes with exec.
    """

    pid: int
    areas: list[Range]
    hot: list[Range] = field(default_factory=list)
    blind: list[Range] = field(default_factory=list)
    out: set[int] = field(default_factory=set)
    young: set[int] = field(default_factory=set)
    shared: int = 0
    image: int = 1
    alive: bool = True
    inode: int = 0
    cgroup: str = "/x"
    guest: bool = False
    major_faults: int = 0

    @property
    def placement(self) -> Placement:
        return Placement(self.pid, 100 + self.pid)

    @property
    def size(self) -> int:
        return sum(end - start for start, end in self.areas)

    def is_hot(self, address: int) -> bool:
        return any(start <= address < end for start, end in self.hot)


@dataclass
class FakeMachine:
    """The clock is `now_us`. Costs of CPU: `tick_ns` a process and look, `region_ns` a sample,
    `maps_ns` a reading of maps, `asking_ns` a page that is asked whether it is young.
    """

    run: str
    processes: dict[int, FakeProcess] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    now_us: int = 1_000_000
    cpu_ns: int = 0
    foreign: bool = False
    opening_ns: int = 0
    tick_ns: int = 0
    region_ns: int = 0
    maps_ns: int = 0
    asking_ns: int = 0
    stall_us: int = 0
    swap: bool = True
    opened: int = 0
    maps_read: list[int] = field(default_factory=list)
    walked_us: list[int] = field(default_factory=list)
    asked: list[Range] = field(default_factory=list)
    calls: list[tuple[int, Advice, Range]] = field(default_factory=list)
    forbidden: set[int] = field(default_factory=set)
    full: bool = False

    def add(self, pid: int = 700, areas: Sequence[Range] = (), **more: object) -> FakeProcess:
        found = FakeProcess(pid, list(areas) or [(BASE, BASE + 64 * MIB)])
        self.processes[pid] = replace(found, **more)  # type: ignore[arg-type]
        return self.processes[pid]

    def alive(self, pid: int) -> FakeProcess:
        found = self.processes.get(pid)
        if found is None or not found.alive:
            raise gone()
        return found

    # Filesystem
    def read(self, path: str) -> str:
        if path in self.files:
            return self.files[path]
        if path == "/proc/meminfo":
            return f"MemTotal: 1000 kB\nMemFree: 500 kB\nSwapFree: {1000 * self.swap} kB\n"
        _, _, name, file = path.split("/", 3)
        if not name.isdigit():
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        process = self.alive(int(name))
        if file == "stat":
            values = ["S", *["0"] * 18, str(100 + process.pid), *["0"] * 3, str(process.image)]
            values[9] = str(process.major_faults)
            values[21] = str(process.size // PAGE_BYTES - len(process.out))
            return f"{process.pid} (x) {' '.join([*values, *['1'] * 30])}\n"
        if file == "maps":
            self.maps_read.append(process.pid)
            self.cpu_ns += self.maps_ns
        return {
            "maps": "".join(
                f"{start:x}-{end:x} rw-p 00000000 00:00 {process.inode} \n"
                for start, end in process.areas
            ),
            "status": "VmLck:\t 0 kB\nHugetlbPages:\t 0 kB\n",
            "cgroup": f"0::{process.cgroup}\n",
        }[file]

    def readlink(self, path: str) -> str:
        return "/dev/kvm" if "/fd/" in path else "1"

    def listdir(self, path: str) -> list[str]:
        return ["3"] if self.alive(int(path.split("/")[2])).guest else []

    def write(self, path: str, text: str) -> None:
        raise AssertionError(path)

    def exists(self, path: str) -> bool:
        raise AssertionError(path)

    # Effects
    def sleep(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)

    def open_pidfd(self, pid: int) -> int:
        self.alive(pid)
        self.opened += 1
        return pid

    def close(self, descriptor: int) -> None:
        self.opened -= 1

    def advise(self, pidfd: int, advice: Advice, ranges: Sequence[object]) -> Advised:
        process = self.alive(pidfd)
        taken = 0
        for item in ranges:
            start, end = item.start, item.end  # type: ignore[attr-defined]
            self.calls.append((pidfd, advice, (start, end)))
            taken += end - start
            if advice is Advice.PAGEOUT and self.swap:
                pages = range(start, end, PAGE_BYTES)
                process.out.update(page for page in pages if not process.is_hot(page))
        self.now_us += 100
        self.cpu_ns += 100_000
        return Advised(taken)

    def acted_bytes(self, pid: int = 700) -> int:
        return sum(end - start for who, _, (start, end) in self.calls if who == pid)

    def tools(self, seed: int = 1) -> Tools:
        roots = Roots(run=self.run)
        effects = Effects(
            self,
            roots,
            sleep=self.sleep,
            clock_ns=lambda: self.now_us * 1_000,
            open_pidfd=self.open_pidfd,
            close=self.close,
            open_reader=lambda pid: FakeReader(self, pid),
            advise=self.advise,
        )
        return Tools(self, roots, effects, Random(seed), lambda: self.cpu_ns)

    def locks(self) -> list[str]:
        found = Path(self.run, "monitors")
        return [path.name for path in found.iterdir()] if found.exists() else []


@dataclass
class FakeReader:
    machine: FakeMachine
    pid: int

    def frames(self, addresses: Sequence[int]) -> list[int | None]:
        process = self.machine.alive(self.pid)
        return [None if address in process.out else 1 for address in addresses]

    def count(self, start: int, end: int) -> Residency:
        out = self.machine.alive(self.pid).out
        swapped = sum(page in out for page in range(start, end, PAGE_BYTES)) * PAGE_BYTES
        return Residency(end - start - swapped, swapped)

    def count_own(self, start: int, end: int) -> int:
        out = self.machine.alive(self.pid).out
        return sum(page not in out for page in range(start, end, PAGE_BYTES)) * PAGE_BYTES

    def close(self) -> None:
        pass


@dataclass
class FakePages:
    """A `PageProbe` and its samplers' factory."""

    machine: FakeMachine
    info: ProbeInfo = PAGE_INFO

    def open(self, process: Placement) -> FakePageSampler:
        return FakePageSampler(self.machine, _opened(self.machine, process))

    def close(self) -> None:
        pass


class FakePageSampler:
    def __init__(self, machine: FakeMachine, process: FakeProcess) -> None:
        self._machine, self._process, self._image = machine, process, process.image
        self._armed: list[int] = []
        machine.opened += 1

    def arm(self, addresses: Sequence[int]) -> None:
        self._look(len(addresses))
        self._armed = list(addresses)

    def check(self) -> list[bool | None]:
        self._look(len(self._armed))
        return [self._tell(address) for address in self._armed]

    def take_young(self, where: AddressRange) -> list[Young]:
        self._look(0)
        self._machine.asked.append((where.start, where.end))
        pages = [
            at for at in range(where.start, where.end, PAGE_BYTES) if at not in self._process.out
        ]
        self._machine.cpu_ns += len(pages) * self._machine.asking_ns
        self._machine.now_us += len(pages) * self._machine.asking_ns // 1_000
        found = runs((at, self._is_young(at)) for at in pages)
        self._process.young.difference_update(pages)
        return found

    def close(self) -> None:
        self._machine.opened -= 1

    def _is_young(self, address: int) -> bool | None:
        return True if address in self._process.young else self._tell(address)

    def _look(self, samples: int) -> None:
        self._machine.cpu_ns += self._machine.tick_ns + samples * self._machine.region_ns
        if self._machine.alive(self._process.pid).image != self._image:
            raise gone()

    def _tell(self, address: int) -> bool | None:
        if any(start <= address < end for start, end in self._process.blind):
            return None
        return self._process.is_hot(address)


@dataclass
class FakeMappings:
    """A `MappingProbe` and its samplers' factory."""

    machine: FakeMachine
    info: ProbeInfo = MAPPING_INFO

    def open(self, process: Placement) -> FakeMappingSampler:
        return FakeMappingSampler(self.machine, _opened(self.machine, process))

    def close(self) -> None:
        pass


class FakeMappingSampler:
    foreign_clears = 0

    def __init__(self, machine: FakeMachine, process: FakeProcess) -> None:
        self._read = 0
        self._machine, self._process, self._image = machine, process, process.image
        machine.opened += 1

    def clear(self) -> None:
        self._walk()
        self._read = 0

    def read(self) -> tuple[MappingUse, ...]:
        self._walk()
        self._read += 1
        self.foreign_clears += self._read > 1 and self._machine.foreign
        return tuple(self._use(start, end) for start, end in self._process.areas)

    def predicted_stall_us(self) -> int:
        return self._machine.stall_us

    def close(self) -> None:
        self._machine.opened -= 1

    def _walk(self) -> None:
        self._machine.cpu_ns += self._machine.tick_ns
        self._machine.walked_us.append(self._machine.now_us)
        if self._machine.alive(self._process.pid).image != self._image:
            raise gone()

    def _use(self, start: int, end: int) -> MappingUse:
        hot = sum(max(min(b, end) - max(a, start), 0) for a, b in self._process.hot)
        size = end - start
        return MappingUse(start, end, size, hot, size, 0, min(self._process.shared, size), 0)


def _opened(machine: FakeMachine, process: Placement) -> FakeProcess:
    machine.cpu_ns += machine.opening_ns
    if machine.full:
        raise OSError(errno.EMFILE, "Too many open files")
    if process.pid in machine.forbidden:
        raise PermissionError(errno.EPERM, "not yours")
    found = machine.alive(process.pid)
    if found.placement != process:
        raise gone()
    return found


SLOW = Monitoring(sample_us=100_000, aggr_us=2_000_000)
COLD = Pattern(access_max_bp=0, age_min_us=4_000_000)


def policy_of(
    *schemes: Scheme,
    mode: Mode = Mode.OBSERVE,
    monitoring: Monitoring = SLOW,
    name: str = "p",
) -> Policy:
    return Policy(name, PidTarget((700,)), schemes, mode, monitoring=monitoring)


def pageout(size: int = 0, interval_us: int = 1_000_000, **more: object) -> Scheme:
    quota = Quota(size=size, interval_us=interval_us) if size else None
    scheme = Scheme(Action.PAGEOUT, COLD, quota=quota)
    return replace(scheme, **more)  # type: ignore[arg-type]


def work_of(machine: FakeMachine, policy: Policy) -> Work:
    return Work(policy, tuple(p.placement for p in machine.processes.values()))


def page_context(machine: FakeMachine, policy: Policy) -> PageContext:
    return PageContext(work_of(machine, policy), FakePages(machine), machine.tools())


def mapping_context(machine: FakeMachine, policy: Policy) -> MappingContext:
    return MappingContext(work_of(machine, policy), FakeMappings(machine), machine.tools())


class Clocked(Protocol):
    """A machine that is not there has a clock that tests set."""

    now_us: int


def run(
    machine: Clocked,
    context: AnyContext,
    seconds: float,
    each: Callable[[], object] = lambda: None,
) -> None:
    """Turn after turn, as they are due, for so long. The clock stands still while it works."""
    end_us = machine.now_us + int(seconds * 1e6)
    while context.due_us <= end_us:
        machine.now_us = max(machine.now_us, context.due_us)
        context.turn(machine.now_us)
        each()
    machine.now_us = max(machine.now_us, end_us)


def hot_bytes(context: Context, pid: int = 700) -> tuple[int, int]:
    """Bytes found hot, and of them those that are, by the last snapshot."""
    snapshot = context.snapshot()
    found = [r for r in snapshot.regions if r.pid == pid and 2 * r.nr_accesses > snapshot.samples]
    return sum(r.end - r.start for r in found), len(found)
