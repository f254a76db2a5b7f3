"""The simulation's tables beside trees recorded from real kernels (`captured/*.json`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sim.damon import SimulatedDamon
from tests.sim.tree import Dir

CAPTURES = sorted((Path(__file__).parent / "captured").glob("*.json"))
CHILDREN = {
    "nr_kdamonds": 1,
    "nr_contexts": 1,
    "nr_targets": 2,
    "nr_regions": 1,
    "nr_schemes": 1,
    "nr_goals": 1,
    "nr_filters": 1,
    "nr_dests": 1,
    "nr_probes": 1,
}


def _populate(damon: SimulatedDamon) -> None:
    """Write every count the way the recording does, parents before children."""
    done: set[str] = set()
    while True:
        paths = (path for path in damon.snapshot() if path.rsplit("/")[-1] in CHILDREN)
        found = [path for path in paths if path not in done]
        if not found:
            return
        path = min(found, key=lambda item: item.count("/"))
        damon.write(f"{damon.root}/{path}", str(CHILDREN[path.rsplit("/")[-1]]))
        done.add(path)


def _mode(admin: Dir, path: str) -> str:
    directory, _, name = path.rpartition("/")
    return admin.at(directory).shape.files[name].mode


def test_there_are_captures_of_the_kernels_that_matter() -> None:
    assert {"6.12", "7.3"} <= {path.stem for path in CAPTURES}


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_names_modes_and_defaults_are_those_of_the_real_kernel(capture: Path) -> None:
    files = json.loads(capture.read_text(encoding="utf-8"))["files"]
    damon = SimulatedDamon(capture.stem)
    _populate(damon)
    ours = {
        path: {"mode": _mode(damon.admin, path), "content": text}
        for path, text in damon.snapshot().items()
        if not path.endswith("/")
    }
    assert ours == files
