# SPDX-License-Identifier: Apache-2.0
"""The guest's initramfs: busybox, a few kernel modules, our init, in cpio's newc format.

newc is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.host import BUSYBOX, XZ
from tests.vm.packages import Kernel

# Loaded by init when the kernel has them as modules; those built in need nothing.
BOOT_MODULES = ("virtio_pci", "fuse", "virtiofs", "overlay")

_DIRECTORY = 0o040755
_PROGRAM = 0o100755
_FILE = 0o100644


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive member: path without a leading slash, st_mode, content."""

    path: str
    mode: int
    data: bytes = b""


def build(kernel: Kernel, *, shares: Sequence[tuple[str, str]], rebinds: Sequence[str]) -> bytes:
    """The archive for that kernel; `shares` are (virtiofs tag, guest path) pairs."""
    modules = boot_modules(kernel)
    init = Path(__file__).with_name("init.sh").read_bytes()
    entries = [
        Entry("bin", _DIRECTORY),
        Entry("modules", _DIRECTORY),
        Entry("bin/busybox", _PROGRAM, BUSYBOX.read_bytes()),
        Entry("init", _PROGRAM, init),
        *(Entry(f"modules/{path.name}", _FILE, read_module(path)) for path in modules),
        Entry("order", _FILE, _lines(f"/modules/{path.name}" for path in modules)),
        Entry("shares", _FILE, _lines(f"{tag} {path}" for tag, path in shares)),
        Entry("rebinds", _FILE, _lines(rebinds)),
    ]
    return write_newc(entries)


def boot_modules(kernel: Kernel) -> list[Path]:
    """The files of BOOT_MODULES that are not built in, in loading order."""
    if kernel.modules is None:
        return []
    dependencies = (kernel.modules / "modules.dep").read_text(encoding="utf-8")
    return [kernel.modules / path for path in load_order(dependencies, BOOT_MODULES)]


def load_order(modules_dep: str, names: Iterable[str]) -> list[str]:
    """Paths to load for `names`, dependencies first; names that modules.dep lacks are built in.

    A line of modules.dep reads `path: dependencies…`, the nearest dependency first.
    """
    by_name = {_module_name(line): line for line in modules_dep.splitlines() if ":" in line}
    ordered: list[str] = []
    for name in names:
        path, _, needed = by_name.get(name, "").partition(":")
        wanted = [*reversed(needed.split()), path] if path else []
        ordered.extend(one for one in wanted if one not in ordered)
    return ordered


def _module_name(line: str) -> str:
    file_name = line.partition(":")[0].rpartition("/")[2]
    return file_name.partition(".")[0].replace("-", "_")


def read_module(path: Path) -> bytes:
    """The module itself; busybox cannot load compressed ones."""
    if path.suffix != ".xz":
        return path.read_bytes()
    return subprocess.run([str(XZ), "-dc", str(path)], check=True, capture_output=True).stdout


def write_newc(entries: Iterable[Entry]) -> bytes:
    """The entries as one newc archive, ended by its trailer."""
    trailer = Entry("TRAILER!!!", 0)
    members = [*entries, trailer]
    return b"".join(part for ino, entry in enumerate(members) for part in _member(ino, entry))


def _member(ino: int, entry: Entry) -> Iterator[bytes]:
    name = entry.path.encode() + b"\0"
    links, size = 1, len(entry.data)
    numbers = (ino, entry.mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    yield _padded(header + name)
    yield _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _lines(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()
