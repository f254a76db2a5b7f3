# SPDX-License-Identifier: Apache-2.0
"""What kernel DAMON tells of processes, in a lab guest: a kdamond each, schemes that only count."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.judge import Seen
from tests.load.score import Region
from tests.vm.guestlib import DAMON_ADMIN, require_guest, reset_damon, set_damon_stat

_KDAMONDS = DAMON_ADMIN / "kdamonds"
_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Attributes:
    """Times in µs."""

    sample_us: int
    aggr_us: int
    min_regions: int


AS_OURS = Attributes(100_000, 2_000_000, 100)
"""What the agent's own page probes run with."""
DEFAULTS = Attributes(5_000, 100_000, 10)
"""DAMON's."""


@contextmanager
def kdamonds(pids: Sequence[int], attributes: Attributes) -> Iterator[None]:
    """They run within the block."""
    require_guest()
    set_damon_stat(enabled=False)
    reset_damon()
    _write(_KDAMONDS, "nr_kdamonds", len(pids))
    for number, pid in enumerate(pids):
        _configure(_KDAMONDS / str(number), pid, attributes)
        _write(_KDAMONDS / str(number), "state", "on")
    try:
        yield
    finally:
        reset_damon()


def _configure(kdamond: Path, pid: int, attributes: Attributes) -> None:
    _write(kdamond, "contexts/nr_contexts", 1)
    context = kdamond / "contexts/0"
    intervals = "monitoring_attrs/intervals"
    for name, value in (
        ("operations", "vaddr"),
        (f"{intervals}/sample_us", attributes.sample_us),
        (f"{intervals}/aggr_us", attributes.aggr_us),
        (f"{intervals}/update_us", 1_000_000),
        # The larger first: the smaller must never be above it.
        ("monitoring_attrs/nr_regions/max", 1000),
        ("monitoring_attrs/nr_regions/min", attributes.min_regions),
        ("targets/nr_targets", 1),
        ("targets/0/pid_target", pid),
        ("schemes/nr_schemes", 1),
        ("schemes/0/action", "stat"),
        ("schemes/0/access_pattern/sz/max", (1 << 64) - 1),
        ("schemes/0/access_pattern/nr_accesses/max", (1 << 32) - 1),
        ("schemes/0/access_pattern/age/max", (1 << 32) - 1),
    ):
        _write(context, name, value)


def look(number: int, pid: int, attributes: Attributes) -> Seen:
    """The regions of that kdamond as of its next aggregation, for which this waits."""
    kdamond = _KDAMONDS / str(number)
    _command(kdamond, "update_schemes_tried_regions")
    aggr_s = attributes.aggr_us / 1e6
    samples = attributes.aggr_us // attributes.sample_us
    found = sorted(_rows(kdamond / "contexts/0/schemes/0/tried_regions"))
    regions = [Region(a, b, min(nr / samples, 1.0), age * aggr_s) for a, b, nr, age in found]
    return Seen({pid: regions}, attributes.sample_us / 1e6, aggr_s)


def _rows(tried: Path) -> Iterator[tuple[int, int, int, int]]:
    for place in tried.glob("[0-9]*"):
        start, end, nr, age = (
            int((place / name).read_text()) for name in ("start", "end", "nr_accesses", "age")
        )
        yield start, end, nr, age


def _command(kdamond: Path, word: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            _write(kdamond, "state", word)
        except OSError:  # busy
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _write(place: Path, name: str, value: object) -> None:
    (place / name).write_text(f"{value}\n")
