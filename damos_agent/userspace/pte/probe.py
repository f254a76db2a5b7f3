"""The probe `pte`, where the machine allows it: x86-64, BPF, nothing encrypted, nothing locked.

Side effects. Clearing is advice to the kernel (MADV_COLD): a page that was young when it was
sampled also loses its place on the LRU list, so under memory pressure sampled pages go before
their equals. Pages that were old are not touched. Large folios are only ever cleared as a whole,
since advice on a part splits them: large folios that the process maps in part or by several
mappings are unknown, and before 6.11 (no PROCMAP_QUERY) all that are not mapped as one huge page.
"""

from __future__ import annotations

import platform
from contextlib import ExitStack
from typing import Final

from damos_agent.host.filesystem import Filesystem, read_if_there
from damos_agent.host.folio import PageFlags
from damos_agent.host.roots import Roots
from damos_agent.model.damon import Placement
from damos_agent.model.errors import UnsupportedError
from damos_agent.userspace.probe import Granularity, PageSampler, ProbeInfo
from damos_agent.userspace.pte import cold
from damos_agent.userspace.pte.direct_map import find_direct_map
from damos_agent.userspace.pte.layout import Layout
from damos_agent.userspace.pte.offsets import find_offsets
from damos_agent.userspace.pte.reader import Reader
from damos_agent.userspace.pte.sampler import PteSampler
from damos_agent.userspace.subject import Subject

INFO: Final = ProbeInfo(
    name="pte",
    granularity=Granularity.PAGE,
    sees="rw",
    limits=(
        "cannot tell of pages that several processes map, of locked (mlock) and hugetlb memory, "
        "nor see what guests of KVM access; sampled hot pages are nearer to eviction; 4-6 µs per "
        "hot and 1 µs per idle sample"
    ),
    experimental=True,
)


class PteProbe:
    """See `PageProbe`.

    `UnsupportedError` when this machine or kernel cannot, `HostError` names a missing privilege.
    """

    def __init__(self, fs: Filesystem, roots: Roots) -> None:
        self._fs, self._roots = fs, roots
        levels = page_table_levels(fs, roots, platform.machine())
        _refuse_lockdown(fs, roots)
        with ExitStack() as stack:
            self._flags = PageFlags(roots)
            stack.callback(self._flags.close)
            self._reader = Reader(Layout(levels, find_offsets(roots.sysfs)))
            stack.callback(self._reader.close)
            find_direct_map(self._reader, fs, roots, levels)
            self._opened = stack.pop_all()

    @property
    def info(self) -> ProbeInfo:
        """See `PageProbe`."""
        return INFO

    def open(self, process: Placement) -> PageSampler:
        """See `PageProbe`."""
        with ExitStack() as stack:
            subject = Subject(self._fs, self._roots, process)
            stack.callback(subject.close)
            cold.check_allowed(subject.pidfd)
            stack.pop_all()
            return PteSampler(subject, self._reader, self._flags)

    def close(self) -> None:
        """See `PageProbe`."""
        self._opened.close()


def page_table_levels(fs: Filesystem, roots: Roots, machine: str) -> int:
    """4 or 5; `UnsupportedError` but on x86-64. The flag is cleared where five are not in use."""
    if machine != "x86_64":
        raise UnsupportedError(f"page tables of {machine} cannot be read", hint="x86-64 only")
    for line in (read_if_there(fs, f"{roots.proc}/cpuinfo") or "").splitlines():
        if line.startswith("flags"):
            return 5 if "la57" in line.split() else 4
    raise UnsupportedError("/proc/cpuinfo does not tell the processor's flags")


def _refuse_lockdown(fs: Filesystem, roots: Roots) -> None:
    path = f"{roots.sysfs}/kernel/security/lockdown"
    if "[confidentiality]" in (read_if_there(fs, path) or ""):
        raise UnsupportedError(
            "the kernel is locked down", path=path, hint="lockdown=confidentiality hides its memory"
        )
