"""What must never be acted on by evidence of mappings: rules, as data."""

from __future__ import annotations

import errno
from typing import Final

from damos_agent.host.filesystem import GONE, Filesystem
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.userspace.probe import MappingUse

_BY_FLAG: Final[tuple[tuple[str, str], ...]] = (
    ("lo", "locked into memory (mlock)"),
    ("ht", "hugetlb pages"),
    ("pf", "memory of a device or the kernel (PFNMAP)"),
    ("io", "registers of a device (IO)"),
    ("sh", "shared memory: others may use it unseen"),
)
_KERNEL_NAMES: Final = ("[vdso]", "[vvar", "[vsyscall]", "[vectors]", "[sigpage]", "[uprobes]")
_SHARED_PART: Final = 2
"""From half of its resident pages on, a private mapping counts as shared. Pages of the rest which
others map too are left alone by the kernel itself."""

_KVM: Final = ("/dev/kvm", "anon_inode:kvm", "anon_inode:[kvm")


def untouchable(use: MappingUse) -> str:
    """Why this mapping must be left alone whatever was seen of it; empty if it need not."""
    for flag, reason in _BY_FLAG:
        if flag in use.flags:
            return reason
    if use.name.startswith(_KERNEL_NAMES):
        return "belongs to the kernel"
    if use.shared and use.shared * _SHARED_PART >= use.rss:
        return "shared with other processes, whose accesses are not seen"
    return ""


def is_virtual_machine(fs: Filesystem, roots: Roots, pid: int) -> bool:
    """Whether the process holds a KVM descriptor: its guest's accesses leave no trace in its own
    page tables, so the guest's memory would look idle.

    False once it has gone; `HostError` when its descriptors may not be listed.
    """
    path = f"{roots.proc}/{pid}/fd"
    try:
        return any(_link(fs, f"{path}/{name}").startswith(_KVM) for name in fs.listdir(path))
    except OSError as error:
        if error.errno in GONE:
            return False
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise
        raise HostError(
            f"whether process {pid} runs a virtual machine cannot be told",
            path=path,
            errno=error.errno,
            hint="run as root, or with CAP_SYS_PTRACE",
        ) from error


def _link(fs: Filesystem, path: str) -> str:
    """What a descriptor is; empty once it has been closed."""
    try:
        return fs.readlink(path)
    except OSError as error:
        if error.errno in GONE:
            return ""
        raise
