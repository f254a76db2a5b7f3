"""What this kernel's DAMON can do, found without changing anything.

Best source first: type information (BTF), then the release number. Both are corrected by files
that exist in a slot of ours (`refine`). Vendor kernels backport, so names prove more than numbers.
"""

from __future__ import annotations

import re
from dataclasses import replace

from damos_agent.host.filesystem import Filesystem
from damos_agent.kernel.btf import DamonNames, parse_damon
from damos_agent.kernel.tree import read_text
from damos_agent.model.errors import HostError, UnsupportedError
from damos_agent.model.feature import SINCE, Feature, Features, Ops, Source, profile

_ENUMERATORS = {
    Feature.COMMIT: "DAMON_SYSFS_CMD_COMMIT",
    Feature.TRIED_REGIONS: "DAMON_SYSFS_CMD_UPDATE_SCHEMES_TRIED_REGIONS",
    Feature.TRIED_BYTES: "DAMON_SYSFS_CMD_UPDATE_SCHEMES_TRIED_BYTES",
    Feature.EFFECTIVE_QUOTA: "DAMON_SYSFS_CMD_UPDATE_SCHEMES_EFFECTIVE_QUOTAS",
    Feature.GOALS: "DAMON_SYSFS_CMD_COMMIT_SCHEMES_QUOTA_GOALS",
    Feature.INTERVALS_GOAL: "DAMON_SYSFS_CMD_UPDATE_TUNED_INTERVALS",
    Feature.LRU_ACTIONS: "DAMOS_LRU_PRIO",
    Feature.MIGRATE: "DAMOS_MIGRATE_HOT",
    Feature.COLLAPSE: "DAMOS_COLLAPSE",
    Feature.FILTERS: "DAMOS_FILTER_TYPE_ANON",
    Feature.ADDR_TARGET_FILTERS: "DAMOS_FILTER_TYPE_ADDR",
    Feature.YOUNG_FILTER: "DAMOS_FILTER_TYPE_YOUNG",
    Feature.PAGE_STATE_FILTERS: "DAMOS_FILTER_TYPE_UNMAPPED",
    Feature.PSI_GOAL: "DAMOS_QUOTA_SOME_MEM_PSI_US",
    Feature.NODE_MEM_GOALS: "DAMOS_QUOTA_NODE_MEM_USED_BP",
    Feature.MEMCG_GOALS: "DAMOS_QUOTA_NODE_MEMCG_USED_BP",
    Feature.LRU_GOALS: "DAMOS_QUOTA_ACTIVE_MEM_BP",
    Feature.NODE_ELIGIBLE_GOAL: "DAMOS_QUOTA_NODE_ELIGIBLE_MEM_BP",
    Feature.GOAL_TUNER: "DAMOS_QUOTA_GOAL_TUNER_CONSIST",
}
_STRUCTS = {Feature.SYSFS: "damon_sysfs_kdamonds", Feature.PROBES: "damon_probe"}
_MEMBERS = {
    Feature.APPLY_INTERVAL: "damos.apply_interval_us",
    Feature.FILTER_ALLOW: "damos_filter.allow",
    Feature.FILTER_LAYERS: "damos.ops_filters",
    Feature.DESTS: "damon_sysfs_scheme.dests",
    Feature.REFRESH: "damon_sysfs_kdamond.refresh_ms",
    Feature.ADDR_UNIT: "damon_ctx.addr_unit",
    Feature.OBSOLETE_TARGET: "damon_sysfs_target.obsolete",
    Feature.NR_SNAPSHOTS: "damos.max_nr_snapshots",
    Feature.PAUSE: "damon_ctx.pause",
    Feature.FAIL_CHARGE: "damos_quota.fail_charge_num",
    Feature.PROBE_WEIGHTS: "damon_probe.weight",
}
SAME_RELEASE = {
    Feature.SYNC_COMMANDS: Feature.FILTER_ALLOW,
    Feature.RELIABLE_COMMIT: Feature.INTERVALS_GOAL,
    Feature.VADDR_MIGRATE: Feature.DESTS,
    Feature.FIRST_WINDOW_QUOTA: Feature.ADDR_UNIT,
}
"""Changes of behaviour that show no name: told by a companion of the same release."""

_OPS_FUNCTIONS = {Ops.VADDR: "damon_va_", Ops.PADDR: "damon_pa_"}
_RELEASE = re.compile(r"(\d+)\.(\d+)")


def parse_release(release: str) -> tuple[int, int]:
    """`6.12.117+deb13-cloud-amd64` → (6, 12)."""
    match = _RELEASE.match(release)
    if match is None:
        raise UnsupportedError(
            f"{release!r} is not a kernel release", hint="write it like 6.12 or 7.3.4"
        )
    return int(match[1]), int(match[2])


def from_names(names: DamonNames, release: str) -> Features:
    """Features by what the kernel's type information names."""
    found = {f for f, name in _ENUMERATORS.items() if name in names.enumerators}
    found |= {f for f, name in _STRUCTS.items() if name in names.structs}
    found |= {f for f, name in _MEMBERS.items() if name in names.members}
    found |= {feature for feature, companion in SAME_RELEASE.items() if companion in found}
    if Feature.SYSFS not in found:
        detail = f"kernel {release} was built without DAMON's sysfs interface"
        return Features(release, Source.BTF, detail=detail)
    ops = {
        ops
        for ops, prefix in _OPS_FUNCTIONS.items()
        if any(name.startswith(prefix) for name in names.functions)
    }
    if Ops.VADDR in ops:
        ops.add(Ops.FVADDR)
    return Features(release, Source.BTF, frozenset(found), frozenset(ops))


def from_version(release: str) -> Features:
    """Features by release number alone: a guess on kernels with backports."""
    return replace(
        profile(release, parse_release(release)),
        source=Source.VERSION,
        detail="assumed from the release number; this kernel carries no BTF",
    )


def detect(fs: Filesystem, sysfs: str, release: str, btf: bytes | None) -> Features:
    """The features of the running kernel. `btf`: the blob of `read_btf`."""
    if not fs.exists(f"{sysfs}/kernel/mm/damon/admin/kdamonds"):
        return Features(release, Source.ABSENT, detail=f"kernel {release} has no DAMON sysfs")
    if btf is None:
        return from_version(release)
    try:
        names = parse_damon(btf)
    except HostError:
        return from_version(release)
    found = from_names(names, release)
    return found if Feature.SYSFS in found else from_version(release)


def refine(features: Features, fs: Filesystem, context: str) -> Features:
    """`features` with the operation sets that a context directory of ours really lists."""
    text = read_text(fs, f"{context}/avail_operations")
    if text is None:
        return features
    ops = frozenset(Ops(word) for word in text.split() if word in frozenset(Ops))
    return replace(features, ops=ops)


def named_by_newest(features: Features) -> Features:
    """`features` under the name of the oldest mainline release that may have all of them."""
    newest = max((SINCE[feature] for feature in features.present), default=SINCE[Feature.SYSFS])
    return replace(features, release=f"{newest[0]}.{newest[1]}")


def profile_of(name: str) -> Features:
    """The profile of a mainline kernel, by a name such as `6.12`."""
    version = parse_release(name)
    if version < SINCE[Feature.SYSFS]:
        return Features(name, Source.PROFILE, detail=f"kernel {name} has no DAMON sysfs")
    return profile(name, version)
