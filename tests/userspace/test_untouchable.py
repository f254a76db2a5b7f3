"""What is never acted on, and who runs virtual machines."""

from __future__ import annotations

import errno
import os

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.host.roots import Roots
from damos_agent.model.errors import HostError
from damos_agent.userspace.mapping import is_virtual_machine, untouchable
from damos_agent.userspace.probe import MappingUse
from tests.host.fakes import FakeFilesystem


def use(*flags: str, name: str = "", rss: int = 100, shared: int = 0) -> MappingUse:
    return MappingUse(0, 4096, rss, 0, 0, 0, shared, 0, frozenset(flags), name)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (use("rd", "lo"), "mlock"),
        (use("rd", "ht"), "hugetlb"),
        (use("pf"), "PFNMAP"),
        (use("io"), "IO"),
        (use("rd", "wr", "sh"), "shared memory"),
        (use("rd", name="[vdso]"), "kernel"),
        (use("rd", name="[vvar_vclock]"), "kernel"),
        (use("rd", shared=50), "shared with"),
    ],
)
def test_what_must_be_left_alone(given: MappingUse, word: str) -> None:
    assert word in untouchable(given)


@pytest.mark.parametrize(
    "given",
    [use("rd", "wr"), use(name="[heap]"), use(shared=49), use(rss=0), use(name="/lib/[vdso]")],
)
def test_ordinary_memory_may_be_touched(given: MappingUse) -> None:
    assert untouchable(given) == ""


@pytest.mark.parametrize("link", ["/dev/kvm", "anon_inode:kvm-vm", "anon_inode:kvm-vcpu:0"])
def test_a_kvm_descriptor_means_a_virtual_machine(link: str) -> None:
    fs = FakeFilesystem()
    fs.links = {"/proc/7/fd/0": "/dev/null", "/proc/7/fd/1": errno.ENOENT, "/proc/7/fd/9": link}
    assert is_virtual_machine(fs, Roots(), 7)
    fs.remove("/proc/7/fd/9")
    assert not is_virtual_machine(fs, Roots(), 7)
    fs.remove("/proc/7")
    assert not is_virtual_machine(fs, Roots(), 7)


def test_hidden_descriptors_are_an_error() -> None:
    class Hidden(FakeFilesystem):
        def listdir(self, path: str) -> list[str]:
            raise PermissionError(errno.EACCES, "no", path)

    with pytest.raises(HostError, match="CAP_SYS_PTRACE"):
        is_virtual_machine(Hidden(), Roots(), 7)


def test_on_the_real_machine() -> None:
    fs, roots = RealFilesystem(), Roots()
    assert not is_virtual_machine(fs, roots, os.getpid())
    if not os.access("/dev/kvm", os.R_OK):
        pytest.skip("no /dev/kvm to open")
    with open("/dev/kvm", "rb", buffering=0):
        assert is_virtual_machine(fs, roots, os.getpid())
