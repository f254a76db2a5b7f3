"""Status files: what the `update_*` commands fill, and what a running configuration is."""

from __future__ import annotations

from dataclasses import asdict

from tests.sim.scheme import Scheme, Tried
from tests.sim.shapes import Shape, tried_region
from tests.sim.staged import U32, Attrs
from tests.sim.tree import Dir
from tests.sim.versions import Version

Config = dict[str, str]


def show_stats(context: Dir, schemes: list[Scheme]) -> None:
    """Copy the counters of the running schemes to the directories of the same index."""
    for directory, scheme in zip(context.at("schemes").numbered(), schemes, strict=False):
        values = directory.at("stats").values
        values |= {k: str(v) for k, v in asdict(scheme.stats).items() if k in values}


def show_effective(context: Dir, schemes: list[Scheme]) -> None:
    """Fill `effective_bytes`."""
    for directory, scheme in zip(context.at("schemes").numbered(), schemes, strict=False):
        values = directory.at("quotas").values
        if "effective_bytes" in values:
            values["effective_bytes"] = str(scheme.charge.effective)


def show_intervals(context: Dir, attrs: Attrs) -> None:
    """Overwrite the staged intervals with the running ones."""
    values = context.at("monitoring_attrs/intervals").values
    values |= {"sample_us": str(attrs.sample), "aggr_us": str(attrs.aggr)}


def clear_tried(context: Dir) -> None:
    """Remove the region directories and zero the totals."""
    for scheme in context.at("schemes").numbered():
        tried = scheme.at("tried_regions")
        tried.resize(0, Shape())
        if "total_bytes" in tried.values:
            tried.values["total_bytes"] = "0"


def show_tried(
    context: Dir, walks: dict[int, list[Tried]], version: Version, *, shown: bool
) -> None:
    """Fill the totals and, where `shown`, one directory per tried region."""
    probes = 0
    if context.has("monitoring_attrs/probes"):
        probes = len(context.at("monitoring_attrs/probes").numbered())
    for index, scheme in enumerate(context.at("schemes").numbered()):
        tried, regions = scheme.at("tried_regions"), walks.get(index, [])
        if "total_bytes" in tried.values:
            tried.values["total_bytes"] = str(sum(r.end - r.start for r in regions))
        if not shown:
            continue
        tried.resize(len(regions), tried_region(version, probes))
        for directory, region in zip(tried.numbered(), regions, strict=True):
            values = directory.values
            values |= {k: str(v) for k, v in asdict(region).items() if k in values}


def _copied(directory: Dir, prefix: str, found: Config) -> None:
    for name, value in directory.values.items():
        if directory.shape.files[name].writable:
            found[prefix + name] = value
    for name, below in directory.dirs.items():
        if name not in ("regions", "tried_regions"):
            _copied(below, f"{prefix}{name}/", found)


def configuration(context: Dir, *, commit: bool = False) -> Config:
    """The inputs of `context` as a thread takes them over: path below the context → value.

    Monitoring ranges are left out (they are applied, not kept), pattern counts are cut to 32
    bits, and a `commit` leaves obsolete targets out, those behind them moving up.
    """
    found: Config = {}
    _copied(context, "", found)
    for path in found:
        if "/access_pattern/nr_accesses/" in path or "/access_pattern/age/" in path:
            found[path] = str(int(found[path]) & U32)
    staged = context.at("targets").numbered()
    kept = [target for target in staged if not (commit and target.flag("obsolete_target"))]
    found = {path: value for path, value in found.items() if not path.startswith("targets/")}
    found["targets/nr_targets"] = str(len(kept))
    for index, target in enumerate(kept):
        _copied(target, f"targets/{index}/", found)
    return found
