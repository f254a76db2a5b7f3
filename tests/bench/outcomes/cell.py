# SPDX-License-Identifier: Apache-2.0
"""One workload under one variant: `python -m tests.bench.outcomes.cell JSON`.

Runs in a lab guest. What is asked for is a `Request`; prints one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.bench.daemon import PROJECT
from tests.bench.outcomes import meter, variants
from tests.bench.outcomes.catalogue import Member, workload
from tests.bench.outcomes.load import DIRECTORY
from tests.bench.outcomes.patterns import PATTERNS
from tests.vm.guestlib import cgroup, require_guest, reset_damon, set_damon_stat, zram_swap

_SWAP_MIB, _DISK_MIB = 1024, 384
_SAMPLE_S = 2.0
_SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Request:
    """`damo`, `redis` and `numpy` name programs on the host that the guest sees, too."""

    workload: str
    variant: str
    seconds: float
    damo: str
    redis: str
    numpy: str


@dataclass(slots=True)
class Load:
    """A running member of the workload."""

    process: subprocess.Popen[str]
    pid: int = 0

    def tell(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} has ended")
        return dict(json.loads(line))

    def go(self) -> None:
        """It may go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


def main() -> None:
    require_guest()
    request = Request(**json.loads(sys.argv[1]))
    set_damon_stat(enabled=False)
    reset_damon()
    _warm(request)
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(reset_damon)
        zram = stack.enter_context(zram_swap(_SWAP_MIB))
        loads, groups = _loads(request, stack)
        place = variants.Place([load.pid for load in loads], groups, base, request.damo)
        with variants.start(request.variant, place) as agents:
            time.sleep(_SETTLE_S)
            print(json.dumps(_measured(loads, zram, agents)))


def _warm(request: Request) -> None:
    """In virtual time a guest that waits for its host's disk sees time fly: read all of it before.

    What a variant runs stays in the cache then.
    """
    modules = "damos_agent.agent.main, damos_agent.config.compile, tests.bench.outcomes.senpai"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True, cwd=PROJECT)
    if request.variant.startswith("damo "):
        subprocess.run([request.damo, "version"], check=False, capture_output=True)


def _loads(request: Request, stack: ExitStack) -> tuple[list[Load], list[Path]]:
    """All members, each with all its memory and waiting."""
    members = workload(request.workload).members
    top = stack.enter_context(cgroup(variants.GROUP.strip("/")))
    (top / "cgroup.subtree_control").write_text("+memory")
    files = any(PATTERNS[m.program].files for m in members if m.program in PATTERNS)
    stack.enter_context(_disk() if files else nullcontext())
    loads, groups = [], []
    for member in members:
        group = stack.enter_context(cgroup(f"{top.name}/{member.program}"))
        if member.limit_mib is not None:
            (group / "memory.max").write_text(f"{member.limit_mib}M")
        loads.append(stack.enter_context(_started(request, member, group)))
        groups.append(group)
    for load in loads:
        load.pid = int(load.tell()["pid"])
    return loads, groups


@contextmanager
def _started(request: Request, member: Member, group: Path) -> Iterator[Load]:
    process = subprocess.Popen(
        [*_program(request, member.program), str(request.seconds), str(group)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Load(process)
    finally:
        process.terminate()
        process.communicate()


def _program(request: Request, name: str) -> list[str]:
    module = "tests.bench.outcomes"
    if name == "redis":
        return [sys.executable, "-m", f"{module}.redis_load", request.redis]
    if name == "numpy":
        return [request.numpy, "-m", f"{module}.numpy_load"]
    return [sys.executable, "-m", f"{module}.load", name]


@contextmanager
def _disk() -> Iterator[None]:
    """A file system on a block device whose content is compressed memory."""
    number = Path("/sys/class/zram-control/hot_add").read_text().strip()
    device = f"/dev/zram{number}"
    Path(f"/sys/block/zram{number}/disksize").write_text(f"{_DISK_MIB}M")
    Path(DIRECTORY).mkdir(parents=True, exist_ok=True)
    options = ["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
    subprocess.run(["mkfs.ext4", *options, device], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "noatime", device, DIRECTORY], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", DIRECTORY], check=False)


def _measured(loads: Sequence[Load], zram: Path, agents: Sequence[int]) -> dict[str, Any]:
    pids = [load.pid for load in loads]
    told: list[dict[str, Any] | None] = [None] * len(loads)

    def listen(number: int) -> None:
        told[number] = loads[number].tell()

    listeners = [threading.Thread(target=listen, args=(n,)) for n in range(len(loads))]
    before, ran = meter.counters(), meter.run_s([*meter.kdamonds(), *agents])
    begun, samples = time.monotonic(), []
    for load, listener in zip(loads, listeners, strict=True):
        load.go()
        listener.start()
    while any(listener.is_alive() for listener in listeners):
        samples.append(meter.sample(pids, zram, agents))
        next(one for one in listeners if one.is_alive() or one is listeners[-1]).join(_SAMPLE_S)
    took = time.monotonic() - begun
    now = meter.counters()
    kdamonds_s = meter.used_s(ran, meter.run_s(meter.kdamonds()))
    agents_s = meter.used_s(ran, meter.run_s(agents))
    ended = meter.sample(pids, zram, agents)
    outcomes = [one for one in told if one is not None]
    if len(outcomes) < len(loads):
        raise RuntimeError("a load has ended early")
    return {
        "elapsed_s": took,
        "phases_s": [sum(row) for row in zip(*(o["phases_s"] for o in outcomes), strict=True)],
        "rss_mib": fmean(one.rss for one in samples),
        "zram_mib": fmean(one.zram for one in samples),
        "agent_mib": fmean(one.agent for one in samples),
        "rss_end_mib": ended.rss,
        "zram_end_mib": ended.zram,
        "cpu_percent": 100 * (kdamonds_s + agents_s) / took,
        "cpu_kdamonds_percent": 100 * kdamonds_s / took,
        "cpu_agent_percent": 100 * agents_s / took,
        "cold_bytes": sum(one["cold_bytes"] for one in outcomes),
        "cold_reclaimed_bytes": sum(
            _reclaimed(pid, one) for pid, one in zip(pids, outcomes, strict=True)
        ),
        **{name: value - before[name] for name, value in now.items()},
        **meter.scheme_bytes(),
    }


def _reclaimed(pid: int, outcome: dict[str, Any]) -> int:
    """Of a load that cannot name the addresses of its cold memory, what is swapped at all."""
    if outcome["cold"]:
        return meter.reclaimed_bytes(pid, [(a, b) for a, b in outcome["cold"]])
    return min(meter.swapped_bytes(pid), int(outcome["cold_bytes"]))


if __name__ == "__main__":
    main()
