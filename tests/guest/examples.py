"""The policies of policies/ as an operator would use them: a few fields edited, no more."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.guest.measure import meminfo
from tests.guest.rig import PROJECT, Rig, Workload, wait_for
from tests.vm.guestlib import cgroup, require_guest

Edits = dict[str, Any]
"""Dotted path below `spec` (list items by number) to the new value; None takes the field away."""

ENFORCE: Edits = {"mode": "enforce"}
SMALL_MACHINE: Edits = {"monitoring.min_regions": 64, "monitoring.max_regions": 200}
"""For physical memory, of which a guest has little: looking at a region costs ever the same, and no
region is larger than one of so many equal ones, which with the usual ten is a tenth of all."""

_ZRAM_CONTROL = Path("/sys/class/zram-control")


def example(name: str, edits: Edits) -> str:
    """policies/NAME.yaml with these edits, with ten times its quotas of time and any CPU time.

    An emulated processor is that much slower, so that their milliseconds are too few.
    """
    document = yaml.safe_load((PROJECT / f"policies/{name}.yaml").read_text())
    for scheme in document["spec"]["schemes"]:
        if "time" in scheme.get("quota", {}):
            time_ms = int(scheme["quota"]["time"].removesuffix("ms"))
            scheme["quota"]["time"] = f"{min(10 * time_ms, 500)}ms"
    document["spec"].setdefault("guard", {})["cpu"] = "max"
    for path, value in edits.items():
        _edit(document["spec"], path.split("."), value)
    return yaml.safe_dump(document, sort_keys=False)


def _edit(node: Any, keys: list[str], value: Any) -> None:
    key = int(keys[0]) if isinstance(node, list) else keys[0]
    if len(keys) > 1:
        if isinstance(node, dict):
            node.setdefault(key, {})
        _edit(node[key], keys[1:], value)
    elif value is None:
        del node[key]
    else:
        node[key] = value


def start_as(
    rig: Rig, sizes: tuple[int, int], *options: str, name: str = "", group: Path | None = None
) -> Workload:
    """A workload of (hot, cold) MiB, with an executable called `name`, inside a cgroup."""
    program = sys.executable
    if name:
        program = str(rig.base / name)
        shutil.copy(os.path.realpath(sys.executable), program)

    def enter() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    process = subprocess.Popen(
        [program, "-m", "tests.guest.workload", *map(str, sizes), *options],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHOME": sys.base_prefix},
        preexec_fn=enter,
    )
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    made = Workload(process, tuple(told["hot"]), tuple(told["cold"]))
    rig.workloads.append(made)
    return made


@contextmanager
def nested_cgroup(path: str) -> Iterator[Path]:
    """That cgroup and the ones above it."""
    with ExitStack() as stack:
        made = Path()
        for part in path.split("/"):
            made = made / part
            last = stack.enter_context(cgroup(str(made)))
        yield last


@contextmanager
def disk(size_mib: int) -> Iterator[Path]:
    """A mounted ext4 file system of that size. Holes read from it are real page cache."""
    require_guest()
    number = (_ZRAM_CONTROL / "hot_add").read_text().strip()
    device, place = f"/dev/zram{number}", Path(f"/run/disk{number}")
    Path(f"/sys/block/zram{number}/disksize").write_text(f"{size_mib}M")
    try:
        subprocess.run(["mke2fs", "-q", "-t", "ext4", device], check=True)
        place.mkdir()
        subprocess.run(["mount", device, str(place)], check=True)
        try:
            yield place
        finally:
            wait_for("the disk to be free", lambda: _unmounted(place))
            place.rmdir()
    finally:
        (_ZRAM_CONTROL / "hot_remove").write_text(number)


def _unmounted(place: Path) -> bool:
    return subprocess.run(["umount", str(place)], check=False).returncode == 0


@contextmanager
def two_lists() -> Iterator[None]:
    """The classic active and inactive lists, whose sizes /proc/meminfo tells, not generations."""
    require_guest()
    enabled = Path("/sys/kernel/mm/lru_gen/enabled")
    before = enabled.read_text()
    enabled.write_text("0")
    try:
        yield
    finally:
        enabled.write_text(before)


@contextmanager
def endless(script: str) -> Iterator[None]:
    """A shell script runs within the block."""
    with subprocess.Popen(["sh", "-c", script]) as shell:
        try:
            yield
        finally:
            shell.kill()


@contextmanager
def kept_in_use(path: Path) -> Iterator[None]:
    """The file is read over and over within the block, each page several times in 100 ms."""
    program = (
        "import os, sys, time\n"
        "file = os.open(sys.argv[1], os.O_RDONLY)\n"
        "into = [bytearray(os.fstat(file).st_size)]\n"
        "while os.preadv(file, into, 0): time.sleep(0.01)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)]) as reader:
        try:
            yield
        finally:
            reader.kill()


def make_file(path: Path, size_mib: int) -> Path:
    """A file that takes no space on disk, only in the cache once it is read."""
    with path.open("wb") as file:
        file.truncate(size_mib << 20)
    return path


def read_file(path: Path) -> None:
    """Read it all once, like a backup does."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def cached_mib(path: Path) -> float:
    """How much of the file is in the page cache."""
    pages = path.stat().st_size // mmap.PAGESIZE
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        present = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(mapped)
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(ctypes.addressof(start))
        failed = libc.mincore(address, ctypes.c_size_t(len(mapped)), present)
        del start
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(page & 1 for page in present) * mmap.PAGESIZE / 2**20


def free_share() -> float:
    """Free memory of all memory, as DAMON's watermarks see it."""
    now = meminfo()
    return now["MemFree"] / now["MemTotal"]


def fill_to(rig: Rig, share: float) -> Workload:
    """A workload of idle memory that leaves that share of the machine free, on both nodes."""
    now = meminfo()
    cold = int(now["MemFree"] - share * now["MemTotal"]) - 12  # its own interpreter
    filler = rig.workload(1, max(cold, 1), "--nodes", "0,1", "--pause", "0.1")
    wait_for("little free memory", lambda: free_share() < share + 0.03, 20)
    return filler


def outcomes(rig: Rig, policy: str, index: int = 0) -> list[dict[str, Any]]:
    """What was told of one scheme so far."""
    found = rig.events("scheme_outcome")
    return [event for event in found if event["policy"] == policy and event["index"] == index]


def settle(seconds: float) -> None:
    """Let the kernel work for a while when there is nothing to wait for."""
    time.sleep(seconds)
