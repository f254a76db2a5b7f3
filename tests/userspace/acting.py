"""A process that is not there, for tests of acting: its pages, its swap, and its time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from damos_agent.host.madvise import Advice, Advised
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement, SchemeSpec
from damos_agent.model.policy import AddressRange
from damos_agent.userspace.actor import ProcessActor
from damos_agent.userspace.canary import CanaryGate
from damos_agent.userspace.canary_book import CanaryBook
from damos_agent.userspace.canary_state import CanaryLimits
from damos_agent.userspace.effect import HUGE_BYTES, PAGE_BYTES, Residency
from damos_agent.userspace.handle import Effects

MIB = 1 << 20
PROCESS = Placement(700, 5_000)
LIMITS = CanaryLimits(wait_us=2_000_000)


def pages_of(ranges: Iterable[AddressRange]) -> set[int]:
    return {page for r in ranges for page in range(r.start, r.end, PAGE_BYTES)}


@dataclass
class FakeWorld:
    """One process, and a clock in ns: a 4 KiB page takes 2 µs to go, a call `call_ns`."""

    present: set[int] = field(default_factory=set)
    swapped: set[int] = field(default_factory=set)
    huge: set[int] = field(default_factory=set)
    swap: bool = True
    alive: bool = True
    image: int = 1
    maps: str = ""
    status: str = "VmLck:\t 0 kB\nHugetlbPages:\t 0 kB\n"
    smaps: str = ""
    now_ns: int = 1_000_000_000
    calls: list[tuple[Advice, tuple[AddressRange, ...]]] = field(default_factory=list)
    slept_ns: int = 0
    call_ns: int = 5_000
    top: int = 1 << 47
    """Behind it there is no address space: to ask is EFAULT."""
    descriptors: int = 0
    stuck: set[int] = field(default_factory=set)
    frames_shown: bool = True
    hot: set[int] = field(default_factory=set)
    """Pages that are back, in other frames, before anybody can look."""
    moves: dict[int, int] = field(default_factory=dict)

    # Filesystem
    def read(self, path: str) -> str:
        if path == "/proc/meminfo":
            return f"SwapFree: {1000 if self.swap else 0} kB\n"
        if not self.alive:
            raise ProcessLookupError(3, "gone")
        name = path.rpartition("/")[2]
        if name == "stat":
            fields = ["S", *["0"] * 18, "5000", *["0"] * 3, str(self.image), *["1"] * 30]
            return f"700 (x) {' '.join(fields)}\n"
        return {"maps": self.maps, "status": self.status, "smaps": self.smaps}[name]

    def readlink(self, path: str) -> str:
        return "1"

    def write(self, path: str, text: str) -> None:
        raise AssertionError(path)

    def listdir(self, path: str) -> list[str]:
        raise AssertionError(path)

    def exists(self, path: str) -> bool:
        raise AssertionError(path)

    # Effects
    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        self.slept_ns += round(seconds * 1e9)

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)

    def open_pidfd(self, pid: int) -> int:
        if not self.alive:
            raise ProcessLookupError(3, "gone")
        self.descriptors += 1
        return 99

    def close_fd(self, descriptor: int) -> None:
        self.descriptors -= 1

    def advise(self, pidfd: int, advice: Advice, ranges: Sequence[AddressRange]) -> Advised:
        if not self.alive:
            raise ProcessLookupError(3, "gone")
        self.calls.append((advice, tuple(ranges)))
        wanted = pages_of(ranges)
        if advice is Advice.PAGEOUT and self.swap:
            going = (wanted & self.present) - self.stuck
            self.now_ns += 2_000 * len(going)
            self.present -= going
            self.swapped |= going
            for page in going:
                self.moves[page] = self.moves.get(page, 0) + 1
            self.touch(going & self.hot)
        if advice is Advice.COLLAPSE:
            self.huge |= {r.start for r in ranges}
        self.now_ns += self.call_ns
        return Advised(sum(r.end - r.start for r in ranges))

    def touch(self, pages: Iterable[int]) -> None:
        for page in pages:
            self.swapped.discard(page)
            self.present.add(page)

    @property
    def paged_out(self) -> int:
        return len(self.swapped) * PAGE_BYTES


@dataclass
class FakeReader:
    world: FakeWorld
    closed: bool = False

    def frames(self, addresses: Sequence[int]) -> list[int | None]:
        self._check()
        moves, present = self.world.moves, self.world.present
        if not self.world.frames_shown:
            return [0 if at in present else None for at in addresses]
        return [1 + moves.get(at, 0) if at in present else None for at in addresses]

    def count(self, start: int, end: int) -> Residency:
        self._check()
        if end > self.world.top:
            raise OSError(14, "Bad address")
        pages = range(start, end, PAGE_BYTES)
        return Residency(
            sum(page in self.world.present for page in pages) * PAGE_BYTES,
            sum(page in self.world.swapped for page in pages) * PAGE_BYTES,
            sum(at in self.world.huge for at in range(start, end, HUGE_BYTES)) * HUGE_BYTES,
        )

    def count_own(self, start: int, end: int) -> int:
        return self.count(start, end).present

    def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if not self.world.alive:
            raise ProcessLookupError(3, "gone")


def fake_world(start: int = 64 * MIB, size: int = 16 * MIB) -> FakeWorld:
    world = FakeWorld(maps=f"{start:x}-{start + size:x} rw-p 00000000 00:00 0 \n")
    world.present = pages_of([AddressRange(start, start + size)])
    return world


def fake_actor(
    world: FakeWorld, *actions: str, limits: CanaryLimits = LIMITS, seed: int = 1
) -> ProcessActor:
    effects = Effects(
        world,
        Roots(),
        sleep=world.sleep,
        clock_ns=lambda: world.now_ns,
        open_pidfd=world.open_pidfd,
        close=world.close_fd,
        open_reader=lambda pid: FakeReader(world),
        advise=world.advise,
    )
    gate = CanaryGate(CanaryBook(limits), Random(seed))
    schemes = [SchemeSpec(action, target_nid=0) for action in actions or ("pageout",)]
    return ProcessActor(schemes, effects, gate, update_us=1_000_000)
