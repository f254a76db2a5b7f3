"""One table of the DAMON sysfs inputs we manage: path, model attribute, kind, default, feature.

The renderer, the reader, the differ and the support matrix derive from it. Rows stand in the
order in which files must be written (a parent's `nr_*` before its children, a filter's type before
its parameters). Defaults are those of a freshly made directory (mm/damon/sysfs*.c); the contract
tests compare them with real kernels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from damos_agent.model.feature import Feature


class Kind(StrEnum):
    """How a value is spelled in its file."""

    UINT = "uint"
    INT = "int"
    BOOL = "bool"
    WORD = "word"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Field:
    """File `path` below its directory holds attribute `attr` of the directory's spec."""

    path: str
    attr: str
    kind: Kind = Kind.UINT
    default: str = "0"
    since: Feature | None = None


@dataclass(frozen=True, slots=True)
class Children:
    """Directory `path` with `nr` creates numbered `item` directories for the values of `attr`.

    `transient` children are staged for one commit and removed afterwards.
    """

    path: str
    nr: str
    attr: str
    item: Directory
    since: Feature | None = None
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Directory:
    """All managed files and collections of one kind of directory."""

    rows: tuple[Field | Children, ...]


REGION = Directory((Field("start", "start"), Field("end", "end")))

TARGET = Directory(
    (
        Field("pid_target", "pid", Kind.INT),
        Children("regions", "nr_regions", "regions", REGION, transient=True),
    )
)

GOAL = Directory(
    (
        Field("target_metric", "metric", Kind.WORD, "user_input", Feature.PSI_GOAL),
        Field("target_value", "target_value"),
        Field("current_value", "current_value"),
        Field("nid", "nid", Kind.INT, "0", Feature.NODE_MEM_GOALS),
        Field("path", "path", Kind.PATH, "", Feature.MEMCG_GOALS),
    )
)

FILTER = Directory(
    (
        Field("type", "type", Kind.WORD, "anon"),
        Field("memcg_path", "memcg_path", Kind.PATH, ""),
        Field("addr_start", "addr_start", Kind.UINT, "0", Feature.ADDR_TARGET_FILTERS),
        Field("addr_end", "addr_end", Kind.UINT, "0", Feature.ADDR_TARGET_FILTERS),
        Field("damon_target_idx", "target_idx", Kind.INT, "0", Feature.ADDR_TARGET_FILTERS),
        Field("min", "min", Kind.UINT, "0", Feature.PAGE_STATE_FILTERS),
        Field("max", "max", Kind.UINT, "0", Feature.PAGE_STATE_FILTERS),
        Field("matching", "matching", Kind.BOOL, "N"),
        Field("allow", "allow", Kind.BOOL, "N", Feature.FILTER_ALLOW),
    )
)

DEST = Directory((Field("id", "id"), Field("weight", "weight")))

SCHEME = Directory(
    (
        Field("action", "action", Kind.WORD, "stat"),
        Field("target_nid", "target_nid", Kind.INT, "-1", Feature.MIGRATE),
        Field("apply_interval_us", "apply_interval_us", since=Feature.APPLY_INTERVAL),
        Field("access_pattern/sz/min", "sz_min"),
        Field("access_pattern/sz/max", "sz_max"),
        Field("access_pattern/nr_accesses/min", "nr_accesses_min"),
        Field("access_pattern/nr_accesses/max", "nr_accesses_max"),
        Field("access_pattern/age/min", "age_min"),
        Field("access_pattern/age/max", "age_max"),
        Field("quotas/ms", "quota_ms"),
        Field("quotas/bytes", "quota_bytes"),
        Field("quotas/reset_interval_ms", "reset_interval_ms"),
        Field("quotas/goal_tuner", "goal_tuner", Kind.WORD, "consist", Feature.GOAL_TUNER),
        Field("quotas/fail_charge_num", "fail_charge_num", since=Feature.FAIL_CHARGE),
        Field("quotas/fail_charge_denom", "fail_charge_denom", since=Feature.FAIL_CHARGE),
        Field("quotas/weights/sz_permil", "weight_sz"),
        Field("quotas/weights/nr_accesses_permil", "weight_nr_accesses"),
        Field("quotas/weights/age_permil", "weight_age"),
        Children("quotas/goals", "nr_goals", "goals", GOAL, Feature.GOALS),
        Field("watermarks/metric", "wmark_metric", Kind.WORD, "none"),
        Field("watermarks/interval_us", "wmark_interval_us"),
        Field("watermarks/high", "wmark_high"),
        Field("watermarks/mid", "wmark_mid"),
        Field("watermarks/low", "wmark_low"),
        Children("core_filters", "nr_filters", "core_filters", FILTER, Feature.FILTER_LAYERS),
        Children("ops_filters", "nr_filters", "ops_filters", FILTER, Feature.FILTER_LAYERS),
        Children("filters", "nr_filters", "filters", FILTER, Feature.FILTERS),
        Children("dests", "nr_dests", "dests", DEST, Feature.DESTS),
        Field("stats/max_nr_snapshots", "max_nr_snapshots", since=Feature.NR_SNAPSHOTS),
    )
)

_INTERVALS = "monitoring_attrs/intervals"
_GOAL = f"{_INTERVALS}/intervals_goal"

CONTEXT = Directory(
    (
        Field("operations", "ops", Kind.WORD, "vaddr"),
        Field(f"{_INTERVALS}/sample_us", "sample_us", Kind.UINT, "5000"),
        Field(f"{_INTERVALS}/aggr_us", "aggr_us", Kind.UINT, "100000"),
        Field(f"{_INTERVALS}/update_us", "update_us", Kind.UINT, "60000000"),
        Field(f"{_GOAL}/access_bp", "goal_access_bp", since=Feature.INTERVALS_GOAL),
        Field(f"{_GOAL}/aggrs", "goal_aggrs", since=Feature.INTERVALS_GOAL),
        Field(f"{_GOAL}/min_sample_us", "goal_min_sample_us", since=Feature.INTERVALS_GOAL),
        Field(f"{_GOAL}/max_sample_us", "goal_max_sample_us", since=Feature.INTERVALS_GOAL),
        Field("monitoring_attrs/nr_regions/min", "min_nr_regions", Kind.UINT, "10"),
        Field("monitoring_attrs/nr_regions/max", "max_nr_regions", Kind.UINT, "1000"),
        Children("targets", "nr_targets", "targets", TARGET),
        Children("schemes", "nr_schemes", "schemes", SCHEME),
    )
)

KDAMOND = Directory((Children("contexts", "nr_contexts", "contexts", CONTEXT),))

SAMPLE_US = f"contexts/0/{_INTERVALS}/sample_us"
AGGR_US = f"contexts/0/{_INTERVALS}/aggr_us"
OPERATIONS = "contexts/0/operations"

_NUMBER = re.compile(r"/[0-9]+/")


@cache
def _defaults() -> dict[str, str]:
    table: dict[str, str] = {}

    def walk(directory: Directory, prefix: str) -> None:
        for row in directory.rows:
            if isinstance(row, Field):
                table[prefix + row.path] = row.default
            else:
                table[f"{prefix}{row.path}/{row.nr}"] = "0"
                walk(row.item, f"{prefix}{row.path}/N/")

    walk(KDAMOND, "")
    return table


def default_of(path: str) -> str | None:
    """What the file `path` of one kdamond holds when its directory is fresh; None: not ours."""
    return _defaults().get(_NUMBER.sub("/N/", path))


def paths_by_feature() -> dict[Feature, tuple[str, ...]]:
    """Which files each feature brings (with `N` for numbers): the support matrix's raw form."""
    found: dict[Feature, list[str]] = {}

    def walk(directory: Directory, prefix: str) -> None:
        for row in directory.rows:
            name = row.path if isinstance(row, Field) else f"{row.path}/{row.nr}"
            if row.since is not None:
                found.setdefault(row.since, []).append(prefix + name)
            if isinstance(row, Children):
                walk(row.item, f"{prefix}{row.path}/N/")

    walk(KDAMOND, "")
    return {feature: tuple(paths) for feature, paths in found.items()}
