"""What the kernel of a copied sysfs tree can do, told by the files in it. Pure but for reading.

A copy comes from another machine, so neither this machine's release nor its type information says
anything about it. A file that is there proves its feature; one that is missing from a directory
that is there proves the lack; the rest is that of the mainline release between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from damos_agent.host.filesystem import Filesystem
from damos_agent.kernel.features import SAME_RELEASE, parse_release, refine
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.feature import SINCE, Feature, Features, Source, profile

Version = tuple[int, int]

_CONTEXT: Final = "N/contexts/N"
_SCHEME: Final = f"{_CONTEXT}/schemes/N"
_SIGNS: Final[dict[Feature, tuple[str, str]]] = {
    Feature.COMMIT: (_CONTEXT, "avail_operations"),
    Feature.TRIED_REGIONS: (_SCHEME, "tried_regions"),
    Feature.FILTERS: (_SCHEME, "filters"),
    Feature.ADDR_TARGET_FILTERS: (f"{_SCHEME}/filters/N", "addr_start"),
    Feature.TRIED_BYTES: (f"{_SCHEME}/tried_regions", "total_bytes"),
    Feature.APPLY_INTERVAL: (_SCHEME, "apply_interval_us"),
    Feature.GOALS: (f"{_SCHEME}/quotas", "goals"),
    Feature.PSI_GOAL: (f"{_SCHEME}/quotas/goals/N", "target_metric"),
    Feature.EFFECTIVE_QUOTA: (f"{_SCHEME}/quotas", "effective_bytes"),
    Feature.MIGRATE: (_SCHEME, "target_nid"),
    Feature.FILTER_ALLOW: (f"{_SCHEME}/filters/N", "allow"),
    Feature.SYNC_COMMANDS: (f"{_SCHEME}/stats", "sz_ops_filter_passed"),
    Feature.INTERVALS_GOAL: (f"{_CONTEXT}/monitoring_attrs/intervals", "intervals_goal"),
    Feature.FILTER_LAYERS: (_SCHEME, "core_filters"),
    Feature.PAGE_STATE_FILTERS: (f"{_SCHEME}/filters/N", "min"),
    Feature.NODE_MEM_GOALS: (f"{_SCHEME}/quotas/goals/N", "nid"),
    Feature.DESTS: (_SCHEME, "dests"),
    Feature.REFRESH: ("N", "refresh_ms"),
    Feature.ADDR_UNIT: (_CONTEXT, "addr_unit"),
    Feature.OBSOLETE_TARGET: (f"{_CONTEXT}/targets/N", "obsolete_target"),
    Feature.MEMCG_GOALS: (f"{_SCHEME}/quotas/goals/N", "path"),
    Feature.NR_SNAPSHOTS: (f"{_SCHEME}/stats", "max_nr_snapshots"),
    Feature.GOAL_TUNER: (f"{_SCHEME}/quotas", "goal_tuner"),
    Feature.PAUSE: (_CONTEXT, "pause"),
    Feature.FAIL_CHARGE: (f"{_SCHEME}/quotas", "fail_charge_denom"),
    Feature.PROBES: (f"{_CONTEXT}/monitoring_attrs", "probes"),
    Feature.PROBE_WEIGHTS: (f"{_CONTEXT}/monitoring_attrs/probes/N", "weight"),
}
"""Where each feature shows: directory (`N` for numbers) and name in it."""

_RELEASES: Final = tuple(sorted(set(SINCE.values())))
_MOST_CANDIDATES: Final = 2
"""Neighbouring releases may differ in words only, which no file shows: then the older counts."""

_NAMED: Final = "as this release has, corrected by the files of the copy"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the files prove. `context`: one whose `avail_operations` can be read, or empty."""

    present: frozenset[Feature]
    lacking: frozenset[Feature]
    context: str = ""

    @property
    def least(self) -> Version:
        """The newest release that something present came with."""
        return max((SINCE[feature] for feature in self.present), default=_RELEASES[0])

    @property
    def before(self) -> Version | None:
        """The oldest release that brought something lacking."""
        return min((SINCE[feature] for feature in self.lacking), default=None)


def from_tree(fs: Filesystem, kdamonds: str, release: str | None = None) -> Features:
    """The features of the kernel whose directory `kdamonds` was copied.

    `release` is its name, if known. `UnsupportedError` where it is not and the tree, having no
    scheme for example, fits many.
    """
    found = _gather(fs, kdamonds)
    base = parse_release(release) if release else _told_release(found, kdamonds)
    known = profile(release or _spell(base), base)
    lacking = found.lacking | _companions(found.lacking)
    present = (known.present | found.present | _companions(found.present)) - lacking
    detail = _NAMED if release else _told(found)
    features = Features(known.release, Source.TREE, present, known.ops, detail)
    return refine(features, fs, found.context) if found.context else features


def _told_release(found: Evidence, kdamonds: str) -> Version:
    older = [r for r in _RELEASES if found.before is None or r < found.before]
    if older[-1] <= found.least:
        return older[-1]  # alone that fits, or a vendor's kernel with later things added
    candidates = [r for r in older if r >= found.least]
    if len(candidates) > _MOST_CANDIDATES:
        raise UnsupportedError(
            "the files of this copy do not tell its kernel: they fit Linux "
            f"{_spell(candidates[0])} to {_spell(candidates[-1])}",
            path=kdamonds,
            hint="name it with plan --kernel 6.12, or give the copy's proc with --proc-root",
        )
    return candidates[0]


def _told(found: Evidence) -> str:
    until = f", before {_spell(found.before)}" if found.before else ""
    return f"told by the files of the copy: Linux {_spell(found.least)} or later{until}"


def _companions(features: frozenset[Feature]) -> frozenset[Feature]:
    return frozenset(own for own, companion in SAME_RELEASE.items() if companion in features)


def _spell(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _gather(fs: Filesystem, kdamonds: str) -> Evidence:
    names: dict[str, set[str]] = {}
    contexts: list[str] = []

    def walk(path: str, shape: str) -> None:
        try:
            entries = fs.listdir(path)
        except OSError:
            return  # a file, or closed to us: tells nothing
        names.setdefault(shape, set()).update(entries)
        if shape == _CONTEXT and "avail_operations" in entries:
            contexts.append(path)
        if not shape.endswith("regions"):  # thousands, and all alike
            for name in entries:
                step = "N" if name.isdecimal() else name
                walk(f"{path}/{name}", f"{shape}/{step}" if shape else step)

    walk(kdamonds, "")
    seen = {f: name in names[place] for f, (place, name) in _SIGNS.items() if place in names}
    return Evidence(
        frozenset(feature for feature, there in seen.items() if there),
        frozenset(feature for feature, there in seen.items() if not there),
        contexts[0] if contexts else "",
    )
