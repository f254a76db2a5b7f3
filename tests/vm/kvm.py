# SPDX-License-Identifier: Apache-2.0
"""Whether hardware virtualisation works here: found out by booting, never by looking."""

import subprocess
import tempfile
from pathlib import Path

from tests.vm.host import BUSYBOX, QEMU
from tests.vm.initramfs import Entry, write_newc
from tests.vm.packages import Kernel, cache_root

_MARKER = "lab: kvm works"
_INIT = f"#!/bin/busybox sh\necho {_MARKER}\n/bin/busybox poweroff -f\n"
_WAIT_S = 20.0


def kvm_works(kernel: Kernel) -> bool:
    """Whether a guest of this kernel comes up under KVM; asked once per boot of the host."""
    if not Path("/dev/kvm").exists():
        return False
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    verdict = cache_root() / f"kvm-{boot_id}"
    if not verdict.exists():
        works = _boots(kernel)
        for old in cache_root().glob("kvm-*"):
            old.unlink(missing_ok=True)
        verdict.write_text("yes\n" if works else "no\n", encoding="utf-8")
    return verdict.read_text(encoding="utf-8").strip() == "yes"


def _boots(kernel: Kernel) -> bool:
    with tempfile.TemporaryDirectory(prefix="damos-lab-kvm-") as directory:
        initramfs = Path(directory) / "initramfs"
        members = [
            Entry("bin", 0o040755),
            Entry("bin/busybox", 0o100755, BUSYBOX.read_bytes()),
            Entry("init", 0o100755, _INIT.encode()),
        ]
        initramfs.write_bytes(write_newc(members))
        argv = [
            *(str(QEMU), "-nodefaults", "-display", "none", "-no-reboot", "-machine", "q35"),
            *("-accel", "kvm", "-cpu", "host", "-m", "512M", "-serial", "stdio"),
            *("-kernel", str(kernel.image), "-initrd", str(initramfs)),
            *("-append", "console=ttyS0 panic=-1 quiet"),
        ]
        try:
            done = subprocess.run(argv, check=False, capture_output=True, timeout=_WAIT_S)
        except subprocess.TimeoutExpired:
            return False
        return _MARKER.encode() in done.stdout
