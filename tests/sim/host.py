"""The machine around the simulated DAMON: processes, cgroups, memory and its heat."""

from __future__ import annotations

from dataclasses import dataclass, field

Range = tuple[int, int]
KTHREADD = 2
MIB = 1 << 20
LAYOUT: tuple[Range, ...] = (
    (0x5555_5555_0000, 0x5555_5555_0000 + 64 * MIB),
    (0x7FFF_0000_0000, 0x7FFF_0000_0000 + 64 * MIB),
    (0x7FFF_F000_0000, 0x7FFF_F000_0000 + MIB),
)


@dataclass(slots=True)
class Process:
    """Mapped address ranges, and the part of them that is accessed all the time."""

    mappings: tuple[Range, ...] = LAYOUT
    hot: tuple[Range, ...] = ()


@dataclass(slots=True)
class Processes:
    """The process table. Pid 2 is kthreadd: alive and without memory, as on a real machine."""

    table: dict[int, Process] = field(
        default_factory=lambda: {1: Process(), KTHREADD: Process(mappings=())}
    )
    next_pid: int = 1000

    def spawn(self, mappings: tuple[Range, ...] = LAYOUT, hot: tuple[Range, ...] = ()) -> int:
        """Start a process and return its pid."""
        self.next_pid += 1
        self.table[self.next_pid] = Process(mappings, hot)
        return self.next_pid

    def kill(self, pid: int) -> None:
        """End (and reap) process `pid`."""
        del self.table[pid]

    def alive(self, pid: int) -> bool:
        """Whether `pid` exists."""
        return pid in self.table


@dataclass(slots=True)
class Host:
    """What DAMON sees besides its own files.

    `cgroups`: paths a memcg filter or goal may name; `hot`: physical ranges always accessed;
    `metrics`: values of goal metrics the kernel measures itself; `free_mem_rate`: per thousand;
    `numa_nodes`: how many nodes; `registered`: operation sets built in.
    """

    processes: Processes = field(default_factory=Processes)
    cgroups: set[str] = field(default_factory=lambda: {"/"})
    hot: tuple[Range, ...] = ()
    metrics: dict[str, int] = field(default_factory=dict)
    free_mem_rate: int = 500
    registered: tuple[str, ...] = ("vaddr", "fvaddr", "paddr")
    next_thread: int = 20000

    def new_thread(self) -> int:
        """A pid for a new kernel thread, never used before."""
        self.next_thread += 1
        return self.next_thread

    def heat(self, pid: int | None) -> tuple[Range, ...]:
        """The hot ranges of process `pid`, or of physical memory for None."""
        if pid is None:
            return self.hot
        process = self.processes.table.get(pid)
        return process.hot if process else ()

    def mappings(self, pid: int) -> tuple[Range, ...]:
        """The mapped ranges of `pid`, ascending; none for dead ones and kernel threads."""
        process = self.processes.table.get(pid)
        return process.mappings if process else ()
