# SPDX-License-Identifier: Apache-2.0
"""Judging snapshots, without any process."""

from dataclasses import replace

import pytest

from damos_agent.model.userspace import Snapshot, SnapshotRegion
from tests.bench.judge import Moment, clear, mapping_errors, seen, summary
from tests.load.score import Region, Thresholds

MOMENT = Moment(1.0, 1.0, 0.5, 0.7, -0.5, 0.1, 2.0, 0.9, 0.0, 0.2, 0.1, 10)


def test_a_snapshot_becomes_rates_and_seconds_by_process() -> None:
    """Counts are shares of its samples."""
    regions = (SnapshotRegion(1, 0, 10, 5, 4_000_000), SnapshotRegion(2, 0, 20, 20, 0))
    found = seen(Snapshot("pte", "page", 100_000, 2_000_000, 20, regions))
    assert found.rows == {1: [Region(0, 10, 0.25, 4.0)], 2: [Region(0, 20, 1.0, 0.0)]}
    assert (found.sample_s, found.aggr_s, found.whole) == (0.1, 2.0, False)


def test_a_mapping_is_wrong_by_its_mean() -> None:
    """Half of the first is hot and half was found; of the second nothing was told."""
    truth = [Region(0, 50, 1.0), Region(50, 100, 0.0), Region(200, 300, 0.25)]
    errors = mapping_errors([(0, 100), (200, 300)], truth, [Region(0, 100, 0.5)])
    assert errors == pytest.approx([0.0, -0.25])


def test_what_is_nearly_hot_may_be_called_either() -> None:
    """At a rate within a tenth of the threshold it is not judged."""
    truth = [Region(n, n + 1, rate) for n, rate in enumerate((0.0, 0.39, 0.45, 0.55, 0.61, 1.0))]
    assert [one.rate for one in clear(truth, Thresholds())] == [0.0, 0.39, 0.61, 1.0]


def test_a_series_is_its_median_once_settled() -> None:
    """Hot memory is found when most of it is."""
    series = [replace(MOMENT, at_s=at, recall=recall) for at, recall in ((1, 0.2), (2, 0.95))]
    late = [replace(MOMENT, at_s=at, recall=1.0, f1=f1) for at, f1 in ((10, 0.8), (11, 0.9))]
    told = summary([*series, *late], 10)
    assert told["f1"] == pytest.approx(0.85)
    assert (told["found_s"], told["snapshots"]) == (2, 2)


def test_what_is_never_found_has_no_time() -> None:
    """And nothing told is an error, no figure."""
    assert summary([MOMENT], 0)["found_s"] is None
    with pytest.raises(ValueError, match="nothing was told"):
        summary([MOMENT], 5)
