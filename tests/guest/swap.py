# SPDX-License-Identifier: Apache-2.0
"""Swap of the demo's own, on any Linux machine: made, used, removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONTROL = Path("/sys/class/zram-control")


class NoSwapError(Exception):
    """The machine gives none; the text says why."""


@contextmanager
def own_swap(size_mib: int) -> Iterator[str]:
    """Compressed memory, else a file; what it is, in words. Gone afterwards. `NoSwapError`."""
    if os.geteuid() != 0:
        raise NoSwapError("only root may add swap")
    if shutil.which("mkswap") is None:
        raise NoSwapError("there is no mkswap")
    if _has_zram():
        with _zram(size_mib) as words:
            yield words
    else:
        with _file(size_mib) as words:
            yield words


def _has_zram() -> bool:
    if not _CONTROL.exists() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "zram", "num_devices=0"], check=False, capture_output=True)
    return _CONTROL.exists()


@contextmanager
def _zram(size_mib: int) -> Iterator[str]:
    number = (_CONTROL / "hot_add").read_text(encoding="ascii").strip()
    device, knobs = f"/dev/zram{number}", Path(f"/sys/block/zram{number}")
    try:
        (knobs / "disksize").write_text(f"{size_mib}M", encoding="ascii")
        _switch_on(device)
        yield f"compressed memory ({device})"
    finally:
        subprocess.run(["swapoff", device], check=False, capture_output=True)
        (knobs / "reset").write_text("1", encoding="ascii")
        (_CONTROL / "hot_remove").write_text(number, encoding="ascii")


@contextmanager
def _file(size_mib: int) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="damos-demo-swap-") as file:
        os.posix_fallocate(file.fileno(), 0, size_mib << 20)
        try:
            _switch_on(file.name)
            yield f"a file ({file.name})"
        finally:
            subprocess.run(["swapoff", file.name], check=False, capture_output=True)


def _switch_on(path: str) -> None:
    for command in (["mkswap", path], ["swapon", path]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise NoSwapError(f"{command[0]}: {done.stderr.strip() or 'it failed'}")
