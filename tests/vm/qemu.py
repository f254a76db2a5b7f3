# SPDX-License-Identifier: Apache-2.0
"""The QEMU command line of a guest, as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.host import QEMU


@dataclass(frozen=True, slots=True)
class Machine:
    """The virtual hardware. With virtual_time the guest's clock counts instructions."""

    memory_mib: int = 2048
    cpus: int = 2
    numa_nodes: int = 1
    virtual_time: bool = False
    kvm: bool = False

    def __post_init__(self) -> None:
        if self.numa_nodes < 1 or self.cpus < 1 or self.memory_mib < 256 * self.numa_nodes:
            raise ValueError(f"not a machine: {self}")


@dataclass(frozen=True, slots=True)
class Boot:
    """What is booted: kernel image, initramfs, virtiofs (tag, socket) pairs, kernel arguments."""

    image: Path
    initramfs: Path
    shares: Sequence[tuple[str, Path]]
    kernel_args: Sequence[str]
    console: Path | None


def command(machine: Machine, boot: Boot) -> list[str]:
    """argv of QEMU; the console goes to the file boot.console, or to the terminal if None."""
    append = ["console=ttyS0", "panic=-1", "oops=panic", "quiet", "psi=1", *boot.kernel_args]
    serial = "mon:stdio" if boot.console is None else f"file:{boot.console}"
    return [
        *(str(QEMU), "-nodefaults", "-display", "none", "-no-reboot", "-machine", "q35"),
        *("-serial", serial, "-cpu", "host" if machine.kvm else "max"),
        *_clock(machine),
        *("-m", f"{machine.memory_mib}M"),
        *_nodes(machine),
        *(word for tag, socket in boot.shares for word in _share(tag, socket)),
        *("-kernel", str(boot.image), "-initrd", str(boot.initramfs)),
        *("-append", " ".join(append)),
    ]


def _clock(machine: Machine) -> list[str]:
    if machine.virtual_time:
        return ["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-smp", "1"]
    # One thread for all CPUs: with one each, QEMU 7.2 now and then runs the kernel's own
    # breakpoints while it patches its code, which ends in a panic. Measured no slower here.
    accelerator = "kvm" if machine.kvm else "tcg,thread=single"
    return ["-accel", accelerator, "-smp", str(machine.cpus)]


def _nodes(machine: Machine) -> list[str]:
    """One shared memory backend and one NUMA node each; CPUs are dealt out from node 0 on."""
    words: list[str] = []
    cpus = 1 if machine.virtual_time else machine.cpus
    share_mib = machine.memory_mib // machine.numa_nodes
    for node in range(machine.numa_nodes):
        last = node == machine.numa_nodes - 1
        mib = machine.memory_mib - share_mib * node if last else share_mib
        own = [cpu for cpu in range(cpus) if cpu * machine.numa_nodes // max(cpus, 1) == node]
        listed = "".join(f",cpus={cpu}" for cpu in own)
        words += ["-object", f"memory-backend-memfd,id=mem{node},size={mib}M,share=on"]
        words += ["-numa", f"node,nodeid={node},memdev=mem{node}{listed}"]
    return words


def _share(tag: str, socket: Path) -> list[str]:
    device = f"vhost-user-fs-pci,chardev=char-{tag},tag={tag}"
    return ["-chardev", f"socket,id=char-{tag},path={socket}", "-device", device]
