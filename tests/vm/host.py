# SPDX-License-Identifier: Apache-2.0
"""What the lab needs on this machine: programs, and whether KVM truly works."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.errors import HostNotReadyError


@dataclass(frozen=True, slots=True)
class Requirement:
    """A program and the Debian package that brings it."""

    program: Path
    package: str


QEMU = Path("/usr/bin/qemu-system-x86_64")
VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
BUSYBOX = Path("/bin/busybox")
DEPMOD = Path("/sbin/depmod")
XZ = Path("/usr/bin/xz")

REQUIREMENTS = (
    Requirement(QEMU, "qemu-system-x86"),
    Requirement(VIRTIOFSD, "qemu-system-common"),
    Requirement(Path("/usr/share/seabios/bios-256k.bin"), "seabios"),
    Requirement(Path("/usr/share/qemu/linuxboot_dma.bin"), "qemu-system-data"),
    Requirement(BUSYBOX, "busybox-static"),
    Requirement(DEPMOD, "kmod"),
    Requirement(XZ, "xz-utils"),
    Requirement(Path("/usr/bin/setpriv"), "util-linux"),
)

BUILD_REQUIREMENTS = (
    Requirement(Path("/usr/bin/gcc"), "gcc"),
    Requirement(Path("/usr/include/stdio.h"), "libc6-dev"),
    Requirement(Path("/usr/include/libelf.h"), "libelf-dev"),
    Requirement(Path("/usr/bin/make"), "make"),
    Requirement(Path("/usr/bin/flex"), "flex"),
    Requirement(Path("/usr/bin/bison"), "bison"),
    Requirement(Path("/usr/bin/bc"), "bc"),
    Requirement(DEPMOD, "kmod"),
    Requirement(XZ, "xz-utils"),
)
"""What building a kernel takes (tests/vm/build_idle.py)."""


def missing_packages() -> list[str]:
    """The Debian packages whose programs this machine lacks."""
    missing = _missing(REQUIREMENTS)
    if "busybox-static" not in missing and not _is_static(BUSYBOX):
        missing.append("busybox-static")
    return missing


def ensure_host_packages() -> None:
    """Install what is missing, as root on Debian; else raise HostNotReadyError naming it."""
    if platform.machine() != "x86_64":
        raise HostNotReadyError("the lab shares the host's programs and so needs an x86-64 host")
    _install(missing_packages())


def ensure_packages(requirements: Sequence[Requirement]) -> None:
    """The same for those, whatever the machine."""
    _install(_missing(requirements))


def _missing(requirements: Sequence[Requirement]) -> list[str]:
    return [one.package for one in requirements if not one.program.exists()]


def _install(missing: list[str]) -> None:
    if not missing:
        return
    wanted = " ".join(missing)
    if os.geteuid() != 0:
        raise HostNotReadyError(f"the lab needs: apt-get install {wanted}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600", "--no-install-recommends"]
    for argv in (["apt-get", "-q", "update"], [*install, "install", *missing]):
        done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise HostNotReadyError(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")


def require_root() -> None:
    """Raise HostNotReadyError for an ordinary user: QEMU 7.2's virtiofsd shares as root only."""
    if os.geteuid() != 0:
        raise HostNotReadyError(
            "the lab must run as root: virtiofsd changes its root and reads the whole tree"
        )


def _is_static(program: Path) -> bool:
    """Whether an ELF program asks for no dynamic loader (no PT_INTERP path inside)."""
    with program.open("rb") as handle:
        return b"/ld-linux" not in handle.read(4096)
