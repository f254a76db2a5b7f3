"""The ladder of access probes: the best one that works here, and why those above it do not.

Each rung is tried on a throw-away child before it is trusted. Experimental ones are tried only
when a policy names them, as is the one that sees writes only. The one that tells whole cgroups
stands in where no other works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from damos_agent.host.filesystem import Filesystem
from damos_agent.host.roots import Roots
from damos_agent.model.errors import DamosError, UnsupportedError
from damos_agent.model.policy import ProbeChoice
from damos_agent.model.userspace import Rung
from damos_agent.userspace.mapping import VMA, VmaProbe
from damos_agent.userspace.memcg import MEMCG, CgroupAges
from damos_agent.userspace.page_idle import INFO as PAGE_IDLE
from damos_agent.userspace.page_idle import PageIdleProbe
from damos_agent.userspace.probe import Granularity, MappingProbe, PageProbe, ProbeInfo
from damos_agent.userspace.prove_ages import prove_ages
from damos_agent.userspace.prove_mapping import prove_mappings
from damos_agent.userspace.pte.probe import INFO as PTE
from damos_agent.userspace.pte.probe import PteProbe
from damos_agent.userspace.selftest import prove_pages
from damos_agent.userspace.specimen import Specimen
from damos_agent.userspace.writes import WRITES, WritesProbe, decline_writes

Probe = PageProbe | MappingProbe | CgroupAges

INFOS: Final = {
    ProbeChoice.PAGE_IDLE: PAGE_IDLE,
    ProbeChoice.PTE: PTE,
    ProbeChoice.VMA: VMA,
    ProbeChoice.MEMCG: MEMCG,
    ProbeChoice.WRITES: WRITES,
}
"""The rungs, best first; the last one is for who asks for it."""

_TRIES: Final = 3
_NAMED: Final = "used only by policies that name it (monitoring.userspace.probe)"
NOT_ASKED: Final = f"experimental: {_NAMED}"
ONLY_WRITES: Final = f"sees writes only: {_NAMED}"


@dataclass(slots=True)
class Ladder:
    """Opens each probe at most once; `reasons` tells why those that were tried do not work."""

    fs: Filesystem
    roots: Roots
    probes: dict[ProbeChoice, Probe] = field(default_factory=dict)
    reasons: dict[ProbeChoice, str] = field(default_factory=dict)

    def choose(self, wanted: ProbeChoice, *, again: bool = False) -> Probe:
        """The probe for a policy. Raises `UnsupportedError` with the reasons of all rungs tried.

        `again`: those that failed may work by now.
        """
        rungs = [wanted] if wanted is not ProbeChoice.AUTO else self._automatic()
        for rung in rungs:
            if again:
                self.reasons.pop(rung, None)
            if self._try(rung):
                return self.probes[rung]
        tried = "; ".join(f"{rung}: {self.reasons[rung]}" for rung in rungs)
        raise UnsupportedError(
            f"no probe tells accesses here: {tried}",
            hint="run as root with CAP_SYS_PTRACE and CAP_SYS_NICE, or use a kernel with DAMON",
        )

    def climb(self, also: Iterable[ProbeChoice] = ()) -> tuple[Rung, ...]:
        """Try all rungs that may be used, and those of `also`; what came of it."""
        for rung in (*self._automatic(), ProbeChoice.MEMCG, *also):
            self._try(rung)
        return self.rungs()

    def readable_ages(self) -> CgroupAges | None:
        """Ages of cgroups, to be read beside another probe: so they are not tried out first."""
        known = self.probes.get(ProbeChoice.MEMCG)
        if isinstance(known, CgroupAges):
            return known
        ages = CgroupAges(self.fs, self.roots)
        return None if ages.decline() else ages

    def rungs(self) -> tuple[Rung, ...]:
        """Every rung as it is known now."""
        return tuple(self._describe(rung, info) for rung, info in INFOS.items())

    def close(self) -> None:
        """Give back what the probes hold."""
        for probe in self.probes.values():
            probe.close()
        self.probes.clear()

    def _automatic(self) -> list[ProbeChoice]:
        return [
            rung
            for rung, info in INFOS.items()
            if not info.experimental and info.granularity is not Granularity.CGROUP
        ]

    def _describe(self, rung: ProbeChoice, info: ProbeInfo) -> Rung:
        reason = self.reasons.get(rung, "")
        if not reason and rung not in self.probes:
            reason = _not_tried(info)
        return Rung(info.name, info.granularity, info.sees, info.limits, info.experimental, reason)

    def _try(self, rung: ProbeChoice) -> bool:
        if rung not in self.probes and rung not in self.reasons:
            try:
                self.probes[rung] = self._open(rung)
            except (DamosError, OSError) as error:
                self.reasons[rung] = str(error)
        return rung in self.probes

    def _open(self, rung: ProbeChoice) -> Probe:
        probe = _MAKERS[rung](self.fs, self.roots)
        try:
            _prove_patiently(lambda: self._prove(probe))
        except BaseException:
            probe.close()
            raise
        return probe

    def _prove(self, probe: Probe) -> None:
        if isinstance(probe, CgroupAges):
            prove_ages(probe, self.fs, self.roots)
        elif isinstance(probe, VmaProbe):
            with Specimen() as specimen:
                prove_mappings(probe, specimen)
        elif isinstance(probe, WritesProbe):
            if reason := decline_writes(self.roots):
                raise UnsupportedError(reason, hint="use another probe")
        else:
            prove_pages(probe)  # type: ignore[arg-type]  # all others are page probes


def _not_tried(info: ProbeInfo) -> str:
    if not info.experimental:
        return "not needed: a better one works"
    return NOT_ASKED if info.sees == "rw" else ONLY_WRITES


def _prove_patiently(prove: Callable[[], None]) -> None:
    """On a busy machine the child may not get to touch its hot half in time; a probe that is blind
    fails however often it is tried.
    """
    for _ in range(_TRIES - 1):
        try:
            prove()
        except UnsupportedError:
            continue
        return
    prove()


_MAKERS: Final[dict[ProbeChoice, Callable[[Filesystem, Roots], Probe]]] = {
    ProbeChoice.PAGE_IDLE: PageIdleProbe,
    ProbeChoice.PTE: PteProbe,
    ProbeChoice.VMA: lambda _fs, roots: VmaProbe(roots),
    ProbeChoice.MEMCG: CgroupAges,
    ProbeChoice.WRITES: lambda _fs, roots: WritesProbe(roots),
}
