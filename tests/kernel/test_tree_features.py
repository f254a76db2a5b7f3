"""What a copied sysfs tree tells about the kernel it came from, by its files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from damos_agent.host.filesystem import RealFilesystem
from damos_agent.kernel.features import profile_of
from damos_agent.kernel.tree_features import from_tree
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.feature import Feature, Ops, Source
from tests.sim.damon import ROOT, SimulatedDamon
from tests.sim.test_captured import _populate as populate
from tests.sim.versions import RELEASES

CAPTURED = sorted((Path(__file__).parents[1] / "sim" / "captured").glob("*.json"))
KDAMONDS = f"{ROOT}/kdamonds"
SCHEME = "kdamonds/0/contexts/0/schemes/0"
ONLY_WORDS = {"6.0": "5.19", "6.1": "5.19", "6.10": "6.9"}
"""These brought keywords and no file: the copy is taken for the release before."""


def lay_out(capture: Path, admin: Path) -> Path:
    """The files of a recorded tree; its kdamonds directory."""
    for name, entry in json.loads(capture.read_text())["files"].items():
        path = admin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry["content"] or "")
    return admin / "kdamonds"


@pytest.mark.parametrize("capture", CAPTURED, ids=lambda path: path.stem)
def test_a_copy_of_a_real_tree_tells_exactly_what_its_kernel_has(
    capture: Path, tmp_path: Path
) -> None:
    features = from_tree(RealFilesystem(), str(lay_out(capture, tmp_path)))

    assert features.source is Source.TREE
    assert features.present == profile_of(capture.stem).present
    assert features.ops == frozenset(Ops)


@pytest.mark.parametrize("release", RELEASES)
def test_a_full_tree_of_any_release_is_told_up_to_words(release: str) -> None:
    damon = SimulatedDamon(release)
    populate(damon)

    features = from_tree(damon, KDAMONDS)

    assert features.present == profile_of(ONLY_WORDS.get(release, release)).present


def test_the_copy_says_which_operation_sets_it_has(tmp_path: Path) -> None:
    kdamonds = lay_out(CAPTURED[0], tmp_path)
    (kdamonds / "0/contexts/0/avail_operations").write_text("paddr\n")

    assert from_tree(RealFilesystem(), str(kdamonds)).ops == {Ops.PADDR}


@pytest.mark.parametrize("count", ["nr_kdamonds", "kdamonds/0/contexts/nr_contexts"])
@pytest.mark.parametrize("release", ["5.19", "6.12", "6.18"])
def test_a_tree_without_schemes_is_too_poor_and_asks_for_the_release(
    release: str, count: str
) -> None:
    damon = SimulatedDamon(release)
    damon.write(f"{KDAMONDS}/nr_kdamonds", "1")
    if count != "nr_kdamonds":
        damon.write(f"{ROOT}/{count}", "1")

    with pytest.raises(UnsupportedError, match="do not tell its kernel") as caught:
        from_tree(damon, KDAMONDS)

    assert "--kernel" in (caught.value.hint or "")
    assert from_tree(damon, KDAMONDS, release).present == profile_of(release).present


def test_files_win_over_the_release_that_was_named(tmp_path: Path) -> None:
    """A vendor's kernel with something brought back, and something taken out."""
    kdamonds = lay_out(CAPTURED[0], tmp_path)
    assert CAPTURED[0].stem == "6.12"
    (tmp_path / SCHEME / "quotas/goal_tuner").write_text("consist\n")
    (tmp_path / SCHEME / "apply_interval_us").unlink()

    expected = profile_of("6.12").present - {Feature.APPLY_INTERVAL} | {Feature.GOAL_TUNER}

    assert from_tree(RealFilesystem(), str(kdamonds), "6.12.9").present == expected


def test_a_vendors_tree_is_not_taken_for_more_than_it_shows(tmp_path: Path) -> None:
    """What no file shows is that of the release before the first thing lacking."""
    kdamonds = lay_out(CAPTURED[0], tmp_path)
    (tmp_path / SCHEME / "quotas/goal_tuner").write_text("consist\n")

    features = from_tree(RealFilesystem(), str(kdamonds))

    assert features.present == profile_of("6.12").present | {Feature.GOAL_TUNER}
