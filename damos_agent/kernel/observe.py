"""Reading DAMON: what is staged, what runs, and what schemes have done so far."""

from __future__ import annotations

import errno
from collections.abc import Callable

from damos_agent.host.filesystem import Filesystem
from damos_agent.kernel.apply import patiently
from damos_agent.kernel.errors import explain
from damos_agent.kernel.fields import AGGR_US, SAMPLE_US
from damos_agent.kernel.tree import read_text, read_tree
from damos_agent.model.damon import ObservedKernel, ObservedSlot, SchemeStats, SlotStats
from damos_agent.model.errors import KernelError
from damos_agent.model.feature import Feature, Features

Sleep = Callable[[float], None]

MAX_TRIED_WAIT_US = 5_000_000
"""Tried bytes are asked for only when the next apply is at most this far away: the kernel waits
for it uninterruptibly, holding DAMON's one lock."""


def kdamonds_of(sysfs: str) -> str:
    """DAMON's directory of kdamonds below a sysfs root."""
    return f"{sysfs}/kernel/mm/damon/admin/kdamonds"


def observe(fs: Filesystem, sysfs: str, exclusive: tuple[str, ...], sleep: Sleep) -> ObservedKernel:
    """Every kdamond directory. Raises `KernelError` when it cannot be read."""
    base = kdamonds_of(sysfs)
    path = f"{base}/nr_kdamonds"
    try:
        count = int(fs.read(path))
        slots = tuple(_slot(fs, f"{base}/{index}", sleep) for index in range(count))
    except OSError as error:
        raise explain(error, error.filename or path, "") from error
    return ObservedKernel(slots, exclusive)


def _slot(fs: Filesystem, directory: str, sleep: Sleep) -> ObservedSlot:
    state = patiently(lambda: fs.read(f"{directory}/state"), sleep).strip()
    pid = int(patiently(lambda: fs.read(f"{directory}/pid"), sleep))
    return ObservedSlot(state == "on", pid, read_tree(fs, directory))


def read_stats(
    fs: Filesystem,
    sysfs: str,
    slot: int,
    features: Features,
    sleep: Sleep,
    *,
    tried: bool = False,
) -> SlotStats:
    """Ask the kernel for fresh numbers and read them.

    Queries never change what DAMON does, but `update_tuned_intervals` overwrites the staged
    intervals; only contexts with an intervals goal get it. `tried`: also how many bytes each
    scheme matches now. Raises `KernelError`, errno ECANCELED or EINVAL if the kdamond ended.
    """
    directory = f"{kdamonds_of(sysfs)}/{slot}"
    tuned = _read_int(fs, f"{directory}/{AGGR_US.rpartition('/')[0]}/intervals_goal/aggrs")
    commands = ["update_schemes_stats"]
    if Feature.EFFECTIVE_QUOTA in features:
        commands.append("update_schemes_effective_quotas")
    if tuned:
        commands.append("update_tuned_intervals")
    for word in commands:
        query(fs, directory, word, sleep)
    aggr_us = _read_int(fs, f"{directory}/{AGGR_US}") or 0
    sample_us = _read_int(fs, f"{directory}/{SAMPLE_US}") or 0
    count = _read_int(fs, f"{directory}/contexts/0/schemes/nr_schemes") or 0
    schemes = [f"{directory}/contexts/0/schemes/{index}" for index in range(count)]
    with_tried = tried and Feature.TRIED_BYTES in features and _soon(fs, schemes, aggr_us)
    if with_tried:
        query(fs, directory, "update_schemes_tried_bytes", sleep)
    return SlotStats(
        tuple(_scheme(fs, scheme, with_tried=with_tried) for scheme in schemes), sample_us, aggr_us
    )


def _soon(fs: Filesystem, schemes: list[str], aggr_us: int) -> bool:
    waits = [_read_int(fs, f"{path}/apply_interval_us") or aggr_us for path in schemes]
    return bool(waits) and max(waits) <= MAX_TRIED_WAIT_US


def query(fs: Filesystem, directory: str, word: str, sleep: Sleep) -> None:
    """One `update_*` command to the kdamond at `directory`."""
    path = f"{directory}/state"
    try:
        patiently(lambda: fs.write(path, word), sleep)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ECANCELED):
            raise KernelError(
                "the kdamond is not running any more", path=path, errno=error.errno
            ) from error
        raise explain(error, path, word) from error


def _scheme(fs: Filesystem, path: str, *, with_tried: bool) -> SchemeStats:
    stats = f"{path}/stats"
    tried = _read_int(fs, f"{path}/tried_regions/total_bytes") if with_tried else None
    return SchemeStats(
        nr_tried=_read_int(fs, f"{stats}/nr_tried") or 0,
        sz_tried=_read_int(fs, f"{stats}/sz_tried") or 0,
        nr_applied=_read_int(fs, f"{stats}/nr_applied") or 0,
        sz_applied=_read_int(fs, f"{stats}/sz_applied") or 0,
        qt_exceeds=_read_int(fs, f"{stats}/qt_exceeds") or 0,
        sz_ops_filter_passed=_read_int(fs, f"{stats}/sz_ops_filter_passed"),
        nr_snapshots=_read_int(fs, f"{stats}/nr_snapshots"),
        effective_bytes=_read_int(fs, f"{path}/quotas/effective_bytes"),
        tried_bytes=tried,
    )


def _read_int(fs: Filesystem, path: str) -> int | None:
    text = read_text(fs, path)
    return None if text is None else int(text)
