"""What a kernel offers, told from trees and type information of real kernels."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from damos_agent.host.btf import read_btf
from damos_agent.host.filesystem import RealFilesystem
from damos_agent.kernel.features import detect, parse_release, profile_of
from damos_agent.kernel.fields import default_of, paths_by_feature
from damos_agent.kernel.tree import render
from damos_agent.model.damon import (
    ContextSpec,
    DestSpec,
    FilterSpec,
    GoalSpec,
    SchemeSpec,
    TargetSpec,
)
from damos_agent.model.errors import UnsupportedError
from damos_agent.model.feature import Feature, Ops, Source
from damos_agent.model.policy import AddressRange

CAPTURED = sorted((Path(__file__).parents[1] / "sim" / "captured").glob("*.json"))


def _files(capture: Path) -> dict[str, str]:
    files = json.loads(capture.read_text())["files"]
    prefix = "kdamonds/0/"
    return {
        path.removeprefix(prefix): entry["content"].rstrip("\n")
        for path, entry in files.items()
        if path.startswith(prefix) and "content" in entry and entry["content"] is not None
    }


@pytest.mark.parametrize("capture", CAPTURED, ids=lambda path: path.stem)
def test_each_feature_brings_exactly_its_files(capture: Path) -> None:
    """A feature's files are in the real tree if and only if that release has the feature."""
    real = _files(capture)
    features = profile_of(capture.stem)
    for feature, paths in paths_by_feature().items():
        for path in paths:
            shown = path.replace("/N/", "/0/")
            if "/filters/" in shown and "/0/contexts" in shown:
                continue
            parents = shown.rsplit("/0/", 1)[0]
            if any(name.startswith(f"{parents}/") for name in real):
                assert (shown in real) == (feature in features), f"{feature}: {shown}"


@pytest.mark.parametrize("capture", CAPTURED, ids=lambda path: path.stem)
def test_defaults_are_those_of_the_real_kernel(capture: Path) -> None:
    """Staging skips what is at its default, so the table's defaults must be the kernel's."""
    real = _files(capture)
    checked = 0
    for path, content in real.items():
        default = default_of(path)
        if default is not None and not path.rpartition("/")[2].startswith("nr_"):
            assert content == default, path
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("capture", CAPTURED, ids=lambda path: path.stem)
def test_rendering_names_only_files_that_exist(capture: Path) -> None:
    """A tree for a kernel writes no file which that kernel lacks, and none it has is forgotten."""
    real = _files(capture)
    features = profile_of(capture.stem)
    goal = GoalSpec("user_input", 1)
    item = FilterSpec("anon", matching=True)
    layered = Feature.FILTER_LAYERS in features
    scheme = SchemeSpec(
        "stat",
        goals=(goal,),
        core_filters=(FilterSpec("addr", matching=True),) if layered else (),
        ops_filters=(item,) if layered else (),
        filters=(item,),
        dests=(DestSpec(0, 1),) if Feature.DESTS in features else (),
    )
    target = TargetSpec(1, (AddressRange(0, 4096),))
    tree = render(ContextSpec(Ops.VADDR, (target,), (scheme,)), features)
    assert [path for path in tree if path not in real] == []
    managed = {path for path in real if default_of(path) is not None and "/targets/1/" not in path}
    assert managed - set(tree) == set()


def test_profiles_grow() -> None:
    """Mainline never took a capability away."""
    names = ["5.18", "5.19", "6.1", "6.6", "6.12", "6.18", "7.0", "7.3"]
    sets = [profile_of(name).present for name in names]
    assert all(a < b for a, b in itertools.pairwise(sets))
    assert profile_of("5.15").present == frozenset()


@pytest.mark.parametrize(
    ("text", "version"),
    [("6.12.117+deb13-cloud-amd64", (6, 12)), ("7.3", (7, 3)), ("6.18.44-x-v669", (6, 18))],
)
def test_releases_are_read(text: str, version: tuple[int, int]) -> None:
    """Vendor suffixes do not matter."""
    assert parse_release(text) == version


def test_no_release_is_an_error_with_a_hint() -> None:
    """Nonsense is refused in words."""
    with pytest.raises(UnsupportedError, match="not a kernel release"):
        parse_release("trixie")


@pytest.mark.skipif(
    not os.path.exists("/sys/kernel/mm/damon/admin"), reason="this host's kernel has no DAMON"
)
def test_this_hosts_features_by_btf_agree_with_its_tree() -> None:
    """Reading only: BTF of the running kernel names at least what its release had."""
    release = os.uname().release
    found = detect(RealFilesystem(), "/sys", release, read_btf("/sys"))
    if found.source is Source.BTF:
        assert profile_of(release).present - {Feature.VADDR_MIGRATE} <= found.present | {
            Feature.VADDR_MIGRATE
        }


@pytest.mark.guest(kernels=("6.12", "7.3"))
def test_btf_of_real_kernels_is_the_mainline_list() -> None:
    """On Debian's kernels the names found are exactly those of the release."""
    release = os.uname().release
    found = detect(RealFilesystem(), "/sys", release, read_btf("/sys"))
    assert found.source is Source.BTF
    assert found.present == profile_of(release).present
    assert found.ops == frozenset(Ops)


def test_broken_btf_falls_back_to_the_release() -> None:
    """Unreadable type information is no reason to give up."""

    class Damon(RealFilesystem):
        def exists(self, path: str) -> bool:
            return True

    found = detect(Damon(), "/sys", "6.12.1", b"\x00" * 64)
    assert found.source is Source.VERSION
    assert found.present == profile_of("6.12").present
