"""A machine that is not there, with one cgroup: its generations, and what takes memory from it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from random import Random

from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.policy import (
    Action,
    CgroupTarget,
    Limits,
    Mode,
    Monitoring,
    Pattern,
    Policy,
    ProbeChoice,
    Quota,
    Scheme,
    Target,
    Userspace,
)
from damos_agent.model.userspace import Work
from damos_agent.userspace.context import Tools
from damos_agent.userspace.group_context import GroupContext
from damos_agent.userspace.handle import Effects
from damos_agent.userspace.memcg import CgroupAges

MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")
SECOND = 1_000_000
ROOT = "/sys/fs/cgroup"
LRU_GEN = "/sys/kernel/debug/lru_gen"
PATH = "/work"
ANON, FILE = 0, 1


@dataclass
class FakeGeneration:
    """Bytes by kind: idle ones, which stay, and ones in use, which agings move."""

    number: int
    born_us: int
    idle: list[int] = field(default_factory=lambda: [0, 0])
    used: list[int] = field(default_factory=lambda: [0, 0])

    def total(self, kind: int) -> int:
        return self.idle[kind] + self.used[kind]


@dataclass
class FakeCgroups:
    """Idle and used bytes by kind come at the beginning. `back`: of what is taken, one part in so
    many is needed again at once. Costs of CPU: `age_ns` an aging, `page_ns` a page that is taken.
    """

    run: str
    idle: tuple[int, int] = (64 * MIB, 0)
    used: tuple[int, int] = (16 * MIB, 0)
    back: int = 0
    swap: bool = True
    mglru: bool = True
    age_ns: int = 0
    page_ns: int = 0
    now_us: int = 1_000_000
    cpu_ns: int = 0
    there: bool = True
    free_kb: int = 500
    files: dict[str, str] = field(default_factory=dict)
    generations: list[FakeGeneration] = field(default_factory=list)
    aged_us: list[int] = field(default_factory=list)
    taken: list[tuple[int, int]] = field(default_factory=list)
    reclaimed: list[str] = field(default_factory=list)
    refaulted: int = 0

    def __post_init__(self) -> None:
        self.generations = [FakeGeneration(n, self.now_us) for n in range(4)]
        self.generations[-1].idle = list(self.idle)
        self.generations[-1].used = list(self.used)

    def bytes_of(self, kind: int) -> int:
        return sum(one.total(kind) for one in self.generations)

    def taken_bytes(self) -> int:
        return sum(size for _, size in self.taken)

    # Filesystem
    def read(self, path: str) -> str:
        if path in self.files:
            return self.files[path]
        if path == "/proc/meminfo":
            swap = 1_000_000 * self.swap
            return f"MemTotal: 1000 kB\nMemFree: {self.free_kb} kB\nSwapFree: {swap} kB\n"
        if path == LRU_GEN and self.mglru:
            return self._show()
        if self.there and path == f"{ROOT}{PATH}/memory.current":
            return str(self.bytes_of(ANON) + self.bytes_of(FILE))
        if self.there and path == f"{ROOT}{PATH}/memory.stat":
            return f"anon 0\nworkingset_refault_anon {self.refaulted // PAGE}\n"
        raise FileNotFoundError(errno.ENOENT, "no such file", path)

    def write(self, path: str, text: str) -> None:
        if path == f"{ROOT}{PATH}/memory.reclaim" and self.there:
            self._reclaim(text)
            return
        assert path == LRU_GEN
        sign, _, _, number, *rest = text.split()
        if not self.there:
            raise OSError(errno.EINVAL, "Invalid argument")
        if sign == "+":
            self._age()
        else:
            kind = FILE if rest[0] == "0" else ANON
            self._take(kind, int(rest[1]) * PAGE, int(number))

    def exists(self, path: str) -> bool:
        if path == f"{ROOT}/cgroup.controllers":
            return True
        names = ("memory.stat", "cgroup.procs", "memory.reclaim")
        return self.there and path in {f"{ROOT}{PATH}/{name}" for name in names}

    def listdir(self, path: str) -> list[str]:
        raise FileNotFoundError(errno.ENOENT, "no such directory", path)

    def readlink(self, path: str) -> str:
        raise AssertionError(path)

    def sleep(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)

    def _show(self) -> str:
        rows = [
            f" {one.number:>10} {(self.now_us - one.born_us) // 1000:>10} "
            f"{one.total(ANON) // PAGE} {one.total(FILE) // PAGE} \n"
            for one in self.generations
        ]
        other = f"memcg 1 /\n node     0\n{rows[0]}{rows[1]}"
        return other + (f"memcg 7 {PATH}\n node     0\n{''.join(rows)}" if self.there else "")

    def _age(self) -> None:
        self.aged_us.append(self.now_us)
        self.cpu_ns += self.age_ns
        youngest = self.generations[-1]
        for kind in (ANON, FILE):
            if kind == FILE or self.swap:
                youngest.used[kind] = sum(one.used[kind] for one in self.generations)
                for one in self.generations[:-1]:
                    one.used[kind] = 0
        self.generations.append(FakeGeneration(youngest.number + 1, self.now_us))
        if len(self.generations) > 4:
            oldest = self.generations.pop(0)
            for kind in (ANON, FILE):
                self.generations[0].idle[kind] += oldest.idle[kind]
                self.generations[0].used[kind] += oldest.used[kind]

    def _take(self, kind: int, size: int, up_to: int) -> int:
        left = size if self.swap or kind == FILE else 0
        for one in self.generations:
            if one.number <= up_to:
                part = min(left, one.idle[kind])
                one.idle[kind] -= part
                left -= part
        taken = size - left if self.swap or kind == FILE else 0
        self.taken.append((self.now_us, taken))
        self.now_us += 1_000
        self.cpu_ns += self.page_ns * (taken // PAGE)
        if self.back:
            self.refaulted += taken // self.back
            self.generations[-1].idle[kind] += taken // self.back
        return taken

    def _reclaim(self, text: str) -> None:
        self.reclaimed.append(text)
        if self._take(ANON, int(text.split(maxsplit=1)[0]), 1 << 30) < int(
            text.split(maxsplit=1)[0]
        ):
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    def tools(self) -> Tools:
        roots = Roots(run=self.run)
        effects = Effects(self, roots, sleep=self.sleep, clock_ns=lambda: self.now_us * 1_000)
        return Tools(self, roots, effects, Random(1), lambda: self.cpu_ns)


IDLE = Pattern(access_max_bp=0, age_min_us=4 * SECOND)


def group_policy(
    *schemes: Scheme,
    mode: Mode = Mode.ENFORCE,
    target: Target | None = None,
    aggr_us: int = 2 * SECOND,
    probe: ProbeChoice = ProbeChoice.MEMCG,
    cpu_bp: int = 100,
    refaults_bp: int = 20,
) -> Policy:
    monitoring = Monitoring(aggr_us=aggr_us, userspace=Userspace(probe, cpu_bp))
    found = schemes or (Scheme(Action.PAGEOUT, IDLE),)
    guard = Limits(refaults_bp)
    return Policy(
        "g", target or CgroupTarget(PATH), found, mode, monitoring=monitoring, guard=guard
    )


def pageout(size: int, **more: object) -> Scheme:
    return Scheme(Action.PAGEOUT, IDLE, quota=Quota(size=size), **more)  # type: ignore[arg-type]


def group_context(
    machine: FakeCgroups, policy: Policy | None = None, *pids: int, why: str = ""
) -> GroupContext:
    tools = machine.tools()
    ages = CgroupAges(machine, tools.roots) if machine.mglru else None
    work = Work(policy or group_policy(), tuple(Placement(pid, pid + 100) for pid in pids))
    return GroupContext(work, ages, tools, why)
