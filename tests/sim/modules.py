"""The built-in modules DAMON_RECLAIM, DAMON_LRU_SORT and DAMON_STAT (sysfs-abi §8)."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from tests.sim.errors import refuse
from tests.sim.host import Host
from tests.sim.shapes import FileShape, Kind, Shape, spelled
from tests.sim.tree import Dir
from tests.sim.versions import Version

NAMES = ("stat", "reclaim", "lru_sort")
_SHARED = {
    "sample_interval": "5000",
    "aggr_interval": "100000",
    "min_nr_regions": "10",
    "max_nr_regions": "1000",
    "monitor_region_start": "0",
    "monitor_region_end": "0",
    "quota_ms": "10",
    "quota_reset_interval_ms": "1000",
    "wmarks_interval": "5000000",
}
_RECLAIM = {
    "min_age": "120000000",
    "quota_sz": str(128 << 20),
    "wmarks_high": "500",
    "wmarks_mid": "400",
    "wmarks_low": "200",
}
_LRU_SORT = {
    "hot_thres_access_freq": "500",
    "cold_min_age": "120000000",
    "wmarks_high": "200",
    "wmarks_mid": "150",
    "wmarks_low": "50",
}
_RECLAIM_COUNTERS = (
    "nr_reclaim_tried_regions",
    "bytes_reclaim_tried_regions",
    "nr_reclaimed_regions",
    "bytes_reclaimed_regions",
    "nr_quota_exceeds",
)


def _lru_sort_counters() -> Iterator[str]:
    for heat in ("hot", "cold"):
        for kind in ("nr", "bytes"):
            yield f"{kind}_lru_sort_tried_{heat}_regions"
            yield f"{kind}_lru_sorted_{heat}_regions"
        yield f"nr_{heat}_quota_exceeds"


def _flags(*names: str) -> list[FileShape]:
    return [FileShape(name, Kind.BOOL, "N") for name in names]


def _numbers(values: dict[str, str]) -> list[FileShape]:
    return [FileShape(name, Kind.ULONG, value) for name, value in values.items()]


def _statuses(default: str, *names: str) -> list[FileShape]:
    return [FileShape(name, Kind.STATUS, default) for name in names]


def _stat(version: Version) -> list[FileShape]:
    files = [
        *_flags("enabled"),
        *_statuses("0", "estimated_memory_bandwidth"),
        *_statuses(",".join(["0"] * 101), "memory_idle_ms_percentiles"),
    ]
    if version >= (6, 18):
        files += _statuses("0", "aggr_interval_us")
    if version >= (7, 2):
        files += _statuses("-1", "kdamond_pid")
    return files


def _reclaim(version: Version) -> list[FileShape]:
    files = [
        *_flags("enabled", "commit_inputs"),
        *_numbers(_SHARED | _RECLAIM),
        *_statuses("-1", "kdamond_pid"),
        *_statuses("0", *_RECLAIM_COUNTERS),
    ]
    if version >= (6, 3):
        files += _flags("skip_anon")
    if version >= (6, 9):
        files += _numbers({"quota_mem_pressure_us": "0", "quota_autotune_feedback": "0"})
    if version >= (6, 18):
        files += _numbers({"addr_unit": "1"})
    if version >= (7, 2):
        files += _flags("autotune_monitoring_intervals")
    return files


def _lru_sort(version: Version) -> list[FileShape]:
    files = [
        *_flags("enabled", "commit_inputs"),
        *_numbers(_SHARED | _LRU_SORT),
        *_statuses("-1", "kdamond_pid"),
        *_statuses("0", *_lru_sort_counters()),
    ]
    if version >= (6, 18):
        files += _numbers({"addr_unit": "1"})
    if version >= (7, 0):
        files += _numbers({"active_mem_bp": "0"})
        files += _flags("autotune_monitoring_intervals", "filter_young_pages")
    return files


def _parameters(version: Version, files: list[FileShape]) -> Shape:
    return Shape(files={item.name: spelled(item, version) for item in files})


def shape(version: Version) -> Shape:
    """`/sys/module` as far as DAMON fills it."""
    tables = {"damon_reclaim": _reclaim(version)}
    if version >= (6, 0):
        tables["damon_lru_sort"] = _lru_sort(version)
    if version >= (6, 17):
        tables["damon_stat"] = _stat(version)
    return Shape(
        dirs={
            name: Shape(dirs={"parameters": _parameters(version, files)})
            for name, files in tables.items()
        }
    )


class Modules:
    """The modules' parameters; at most one exclusive user of DAMON at a time."""

    def __init__(self, version: Version, running: set[str], host: Host) -> None:
        self.dir = Dir(shape(version))
        self.host = host
        for name in running:
            self._set(self.dir.at(f"damon_{name}/parameters"), enabled=True)

    def _set(self, parameters: Dir, *, enabled: bool) -> None:
        parameters.values["enabled"] = "Y" if enabled else "N"
        if "kdamond_pid" in parameters.values:
            pid = self.host.new_thread() if enabled else -1
            parameters.values["kdamond_pid"] = str(pid)

    def any_running(self) -> bool:
        """Whether an exclusive module runs."""
        return any(module.flag("parameters/enabled") for module in self.dir.dirs.values())

    def running(self) -> set[str]:
        """Short names of the running modules."""
        found = {name for name, item in self.dir.dirs.items() if item.flag("parameters/enabled")}
        return {name.removeprefix("damon_") for name in found}

    def store(self, parameters: Dir, name: str, text: str, *, sysfs_busy: bool) -> None:
        """Write parameter `name`; enabling is EBUSY while anything else uses DAMON."""
        if name != "enabled":
            parameters.store(name, text)
            return
        before = parameters.values["enabled"]
        parameters.store(name, text)
        after = parameters.values["enabled"]
        parameters.values["enabled"] = before
        if before == after:
            return
        if after == "Y" and (sysfs_busy or self.any_running()):
            raise refuse(errno.EBUSY)
        self._set(parameters, enabled=after == "Y")
