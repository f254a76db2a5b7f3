"""Every region of a running kdamond, by the census scheme's tried regions.

The kernel shows a scheme's tried regions of one round, target after target, each in order of
addresses, without saying whose they are (mm/damon/sysfs-schemes.c).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from damos_agent.host.filesystem import Filesystem
from damos_agent.kernel.errors import explain
from damos_agent.kernel.fields import AGGR_US, SAMPLE_US
from damos_agent.kernel.observe import MAX_TRIED_WAIT_US, Sleep, kdamonds_of, query
from damos_agent.model.damon import Placement
from damos_agent.model.errors import KernelError, UnsupportedError
from damos_agent.model.feature import Feature, Features, missing_feature
from damos_agent.model.userspace import Snapshot, SnapshotRegion


def read_regions(
    fs: Filesystem,
    sysfs: str,
    slot: int,
    schemes: int,
    placements: Sequence[Placement],
    features: Features,
    sleep: Sleep,
) -> Snapshot:
    """As of the next aggregation, for which the kernel waits. `schemes`: how many the policy has,
    before the census; `placements`: of its targets, none for physical memory. Raises `KernelError`,
    or `UnsupportedError` where they cannot be had.
    """
    if Feature.TRIED_REGIONS not in features:
        raise missing_feature(Feature.TRIED_REGIONS, features, "a look at regions")
    try:
        return _look(fs, f"{kdamonds_of(sysfs)}/{slot}", schemes, placements, sleep)
    except OSError as error:  # somebody took it away meanwhile
        raise explain(error, error.filename or sysfs, "") from error


def _look(
    fs: Filesystem, directory: str, schemes: int, placements: Sequence[Placement], sleep: Sleep
) -> Snapshot:
    aggr_us, sample_us = (int(fs.read(f"{directory}/{path}")) for path in (AGGR_US, SAMPLE_US))
    if aggr_us > MAX_TRIED_WAIT_US:
        raise UnsupportedError(
            "aggregations are too far apart for a look: DAMON would be locked for that long",
            hint="shorten monitoring.aggregation_interval to 5s or less",
        )
    base = f"{directory}/contexts/0/schemes"
    if int(fs.read(f"{base}/nr_schemes")) <= schemes:
        raise UnsupportedError(
            "a policy with watermarks has no census of regions",
            hint="see architecture.md, `The census`",
        )
    query(fs, directory, "update_schemes_tried_regions", sleep)
    try:
        rows = _read(fs, f"{base}/{schemes}/tried_regions")
    finally:
        # Each region is a directory of the kernel's; the next statistics would leave them there.
        with suppress(KernelError):
            query(fs, directory, "clear_schemes_tried_regions", sleep)
    regions = tuple(_whose(rows, [one.pid for one in placements], aggr_us))
    samples = max(aggr_us // max(sample_us, 1), 1)
    return Snapshot("damon", "region", sample_us, aggr_us, samples, regions)


Row = tuple[int, int, int, int]
"""Start, end, nr_accesses, age in aggregations."""


def _read(fs: Filesystem, path: str) -> list[Row]:
    names = sorted((name for name in fs.listdir(path) if name.isdecimal()), key=int)
    rows = []
    for name in names:
        start, end, nr, age = (
            int(fs.read(f"{path}/{name}/{file}")) for file in ("start", "end", "nr_accesses", "age")
        )
        rows.append((start, end, nr, age))
    return rows


def _whose(rows: Sequence[Row], pids: Sequence[int], aggr_us: int) -> list[SnapshotRegion]:
    """Where addresses go down, the next target begins; one without regions cannot be told."""
    found, index, last = [], 0, 0
    for start, end, nr, age in rows:
        if start < last:
            index += 1
        last = end
        pid = pids[min(index, len(pids) - 1)] if pids else 0
        found.append(SnapshotRegion(pid, start, end, nr, age * aggr_us))
    return found
