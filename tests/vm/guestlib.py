# SPDX-License-Identifier: Apache-2.0
"""What tests and scripts inside a lab guest need. Everything here refuses to run elsewhere."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GUEST_VARIABLE = "DAMOS_LAB_KERNEL"
DAMON_ADMIN = Path("/sys/kernel/mm/damon/admin")
DAMON_STAT = Path("/sys/module/damon_stat/parameters/enabled")
CGROUPS = Path("/sys/fs/cgroup")

_ZRAM_CONTROL = Path("/sys/class/zram-control")
_STATE_WAIT_S = 30.0


def kernel_series() -> str | None:
    """The series of the guest's kernel ("7.3"), or None outside the lab."""
    return os.environ.get(GUEST_VARIABLE)


def require_guest() -> None:
    """Raise RuntimeError outside a lab guest."""
    if kernel_series() is None:
        raise RuntimeError("refused: this changes the kernel's state and runs in a lab guest only")


@contextmanager
def zram_swap(size_mib: int = 512, algorithm: str | None = None) -> Iterator[Path]:
    """A compressed swap device of that size is on within the block, and gone afterwards.

    Without an algorithm it is lz4, or the kernel's default where there is no lz4 (6.1).
    """
    require_guest()
    subprocess.run(["modprobe", "zram", "num_devices=0"], check=True)
    number = (_ZRAM_CONTROL / "hot_add").read_text(encoding="ascii").strip()
    device, knobs = Path(f"/dev/zram{number}"), Path(f"/sys/block/zram{number}")
    try:
        offered = (knobs / "comp_algorithm").read_text(encoding="ascii")
        if algorithm or "lz4" in offered:
            (knobs / "comp_algorithm").write_text(algorithm or "lz4", encoding="ascii")
        (knobs / "disksize").write_text(f"{size_mib}M", encoding="ascii")
        subprocess.run(["mkswap", str(device)], check=True, capture_output=True)
        subprocess.run(["swapon", str(device)], check=True)
        yield device
    finally:
        subprocess.run(["swapoff", str(device)], check=False, capture_output=True)
        (_ZRAM_CONTROL / "hot_remove").write_text(number, encoding="ascii")


def set_damon_stat(*, enabled: bool) -> bool:
    """DAMON_STAT runs or not, as asked; returns whether this kernel has it (6.17 and later)."""
    require_guest()
    if not DAMON_STAT.exists():
        return False
    DAMON_STAT.write_text("Y" if enabled else "N", encoding="ascii")
    return True


def reset_damon() -> None:
    """Every kdamond of the sysfs interface is off and its directory gone, where there is one."""
    require_guest()
    if not DAMON_ADMIN.exists():
        return
    for state in DAMON_ADMIN.glob("kdamonds/[0-9]*/state"):
        if state.read_text(encoding="ascii").strip() == "on":
            with suppress(OSError):  # one that ends by itself meanwhile answers EPERM
                state.write_text("off", encoding="ascii")
        _await_off(state)
    (DAMON_ADMIN / "kdamonds" / "nr_kdamonds").write_text("0", encoding="ascii")


def _await_off(state: Path) -> None:
    deadline = time.monotonic() + _STATE_WAIT_S
    while state.read_text(encoding="ascii").strip() != "off":
        if time.monotonic() > deadline:
            raise RuntimeError(f"{state} stays on")
        time.sleep(0.05)


def has_damon() -> bool:
    """Whether this kernel has DAMON's sysfs (Debian's 6.1 has not)."""
    return DAMON_ADMIN.is_dir()


@contextmanager
def cgroup(name: str) -> Iterator[Path]:
    """A new cgroup (v2) of that name below the root; what still runs in it is killed at the end."""
    require_guest()
    directory = CGROUPS / name
    directory.mkdir()
    try:
        yield directory
    finally:
        (directory / "cgroup.kill").write_text("1", encoding="ascii")
        deadline = time.monotonic() + _STATE_WAIT_S
        while "populated 1" in (directory / "cgroup.events").read_text(encoding="ascii"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{directory} does not empty")
            time.sleep(0.05)
        directory.rmdir()
