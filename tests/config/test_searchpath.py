"""systemd's drop-in rules, ConfigMap volumes, and whose files root believes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from damos_agent.config.compile import compile_tree
from damos_agent.config.trust import Trust
from damos_agent.model.codec import decode
from damos_agent.model.compiled import Compiled
from damos_agent.model.settings import DriftAction, Settings
from tests.config import samples

LOOSE = Trust(enforced=False)
STRICT = Trust(enforced=True)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes owners, which needs root")


def put(root: Path, directory: str, name: str, text: str) -> Path:
    path = root / directory / "damos-agent/policies.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(compiled: Compiled) -> list[str]:
    return [file.policy.name for file in compiled.files if file.policy is not None]


def codes(compiled: Compiled) -> list[str]:
    found = [*compiled.findings, *(one for file in compiled.files for one in file.findings)]
    return [one.code for one in found]


def test_nothing_there_is_fine(tmp_path: Path) -> None:
    assert compile_tree(str(tmp_path), trust=LOOSE) == Compiled(Settings(), ())


def test_order_is_by_file_name_whatever_the_directory(tmp_path: Path) -> None:
    put(tmp_path, "etc", "50-b.yaml", samples.policy("b"))
    put(tmp_path, "usr/lib", "10-a.yaml", samples.policy("a"))
    put(tmp_path, "run", "90-c.yaml", samples.policy("c"))

    assert names(compile_tree(str(tmp_path), trust=LOOSE)) == ["a", "b", "c"]


def test_a_file_replaces_those_of_its_name_in_weaker_directories(tmp_path: Path) -> None:
    paths = [
        put(tmp_path, directory, "10.yaml", samples.policy(directory.replace("/", "-")))
        for directory in ("etc", "run", "usr/local/lib", "usr/lib")
    ]
    for index, path in enumerate(paths):
        compiled = compile_tree(str(tmp_path), trust=LOOSE)
        assert [file.path for file in compiled.files] == [str(path)]
        assert compiled.files[0].masked == tuple(map(str, paths[index + 1 :]))
        policy = compiled.files[0].policy
        assert policy is not None
        assert policy.origin.masked == compiled.files[0].masked
        path.unlink()


@pytest.mark.parametrize("how", ["empty file", "link to /dev/null"])
def test_masks(tmp_path: Path, how: str) -> None:
    put(tmp_path, "usr/lib", "10.yaml", samples.policy())
    mask = put(tmp_path, "etc", "10.yaml", "")
    if how == "link to /dev/null":
        mask.unlink()
        mask.symlink_to("/dev/null")
    compiled = compile_tree(str(tmp_path), trust=LOOSE)

    assert compiled.files == ()
    assert codes(compiled) == ["DA114"]


def test_a_bad_file_does_not_let_a_weaker_one_through(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib", "10.yaml", samples.policy())
    put(tmp_path, "etc", "10.yaml", "nonsense")

    assert names(compile_tree(str(tmp_path), trust=LOOSE)) == []


def test_a_bad_file_disturbs_no_neighbour(tmp_path: Path) -> None:
    put(tmp_path, "etc", "10.yaml", samples.policy("a"))
    put(tmp_path, "etc", "20.yaml", "[")
    put(tmp_path, "etc", "30.yaml", samples.policy("c"))

    assert names(compile_tree(str(tmp_path), trust=LOOSE)) == ["a", "c"]


def test_other_names_are_ignored(tmp_path: Path) -> None:
    for name in (".a.yaml.swp", ".b.yaml", "#c.yaml#", "d.yaml~", "4913", ".#e.yaml", "f.bak"):
        put(tmp_path, "etc", name, samples.policy())

    assert compile_tree(str(tmp_path), trust=LOOSE) == Compiled(Settings(), ())


def test_a_name_that_nearly_fits_is_pointed_out(tmp_path: Path) -> None:
    put(tmp_path, "etc", "a.yml", samples.policy())

    assert codes(compile_tree(str(tmp_path), trust=LOOSE)) == ["DA113"]


def test_config_map_volume(tmp_path: Path) -> None:
    """Kubernetes: files link to ..data/FILE, ..data to a dated directory, swapped atomically."""
    volume = tmp_path / "etc/damos-agent/policies.d"
    for stamp, name in (("..2026_01", "old"), ("..2026_02", "new")):
        (volume / stamp).mkdir(parents=True)
        (volume / stamp / "10.yaml").write_text(samples.policy(name))
    (volume / "..data").symlink_to("..2026_01")
    (volume / "10.yaml").symlink_to("..data/10.yaml")
    assert names(compile_tree(str(tmp_path), trust=LOOSE)) == ["old"]

    (volume / "..data_tmp").symlink_to("..2026_02")
    (volume / "..data_tmp").rename(volume / "..data")
    assert names(compile_tree(str(tmp_path), trust=LOOSE)) == ["new"]


@pytest.mark.parametrize("kind", ["directory", "dangling link", "fifo", "link loop"])
def test_what_is_no_file_is_a_finding(tmp_path: Path, kind: str) -> None:
    path = put(tmp_path, "etc", "10.yaml", "")
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("gone.yaml" if kind == "dangling link" else path.name)

    assert codes(compile_tree(str(tmp_path), trust=LOOSE)) == ["DA001"]
    assert codes(compile_tree(str(tmp_path), trust=STRICT)) == ["DA001"]


def test_a_file_in_place_of_the_directory_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "etc/damos-agent").mkdir(parents=True)
    (tmp_path / "etc/damos-agent/policies.d").write_text("")

    assert codes(compile_tree(str(tmp_path), trust=LOOSE)) == ["DA112"]


def test_agent_settings_come_from_the_strongest_directory(tmp_path: Path) -> None:
    for directory, drift in (("etc", "alert"), ("usr/lib", "yield")):
        path = tmp_path / directory / "damos-agent/agent.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"apiVersion: damos-agent/v1\nkind: Agent\nspec: {{drift: {drift}}}\n")

    settings = compile_tree(str(tmp_path), trust=LOOSE).settings
    assert settings == Settings(drift=DriftAction.ALERT)


@pytest.mark.parametrize("text", ["[", "apiVersion: damos-agent/v1\nkind: Policy\n"])
def test_unusable_settings_are_none_and_disturb_no_policy(tmp_path: Path, text: str) -> None:
    put(tmp_path, "etc", "10.yaml", samples.policy("a"))
    (tmp_path / "etc/damos-agent/agent.yaml").write_text(text)
    compiled = compile_tree(str(tmp_path), trust=LOOSE)

    assert compiled.settings is None
    assert names(compiled) == ["a"]
    assert len(compiled.findings) == 1


@as_root
def test_root_believes_its_own_files(tmp_path: Path) -> None:
    put(tmp_path, "etc", "10.yaml", samples.policy("a"))

    assert names(compile_tree(str(tmp_path), trust=STRICT)) == ["a"]


@as_root
@pytest.mark.parametrize(
    ("what", "uid", "gid", "mode", "code"),
    [
        ("file", 0, 0, 0o666, "DA110"),
        ("file", 0, 1000, 0o664, "DA110"),
        ("file", 1000, 0, 0o600, "DA111"),
        ("directory", 0, 0, 0o777, "DA110"),
        ("directory", 0, 0, 0o1777, "DA110"),
        ("directory", 1000, 0, 0o755, "DA111"),
        ("parent", 0, 0, 0o777, "DA110"),
        ("parent", 1000, 0, 0o755, "DA111"),
    ],
)
def test_root_refuses_what_others_may_change(
    tmp_path: Path, what: str, uid: int, gid: int, mode: int, code: str
) -> None:
    file = put(tmp_path, "etc", "10.yaml", samples.policy())
    path = {"file": file, "directory": file.parent, "parent": file.parent.parent}[what]
    os.chown(path, uid, gid)
    path.chmod(mode)

    assert names(compile_tree(str(tmp_path), trust=STRICT)) == []
    assert codes(compile_tree(str(tmp_path), trust=STRICT)) == [code]
    assert names(compile_tree(str(tmp_path), trust=LOOSE)) == ["sample"]


@as_root
def test_a_refused_directory_keeps_the_names_in_force(tmp_path: Path) -> None:
    """Its last good versions go on, so nobody else's file may take their places meanwhile."""
    file = put(tmp_path, "etc", "10.yaml", samples.policy())
    put(tmp_path, "run", "0new.yaml", samples.policy())
    file.parent.chmod(0o777)

    compiled = compile_tree(str(tmp_path), trust=STRICT, held={"sample": str(file)})
    assert names(compiled) == []
    assert str(file) in compiled.files[0].findings[-1].message
    file.unlink()
    file.parent.chmod(0o755)
    assert names(compile_tree(str(tmp_path), trust=STRICT, held={"sample": str(file)})) == [
        "sample"
    ]


@as_root
def test_root_group_may_write(tmp_path: Path) -> None:
    put(tmp_path, "etc", "10.yaml", samples.policy()).chmod(0o664)

    assert names(compile_tree(str(tmp_path), trust=STRICT)) == ["sample"]


@as_root
@pytest.mark.parametrize("owner", [0, 1000])
def test_links_are_followed_to_where_they_lead(tmp_path: Path, owner: int) -> None:
    """A link is as trustworthy as the least trustworthy directory on its way."""
    outside = tmp_path / "home"
    outside.mkdir()
    real = tmp_path / "real.yaml"
    real.write_text(samples.policy())
    (outside / "hop.yaml").symlink_to(real)
    path = put(tmp_path, "etc", "10.yaml", "")
    path.unlink()
    path.symlink_to(outside / "hop.yaml")
    os.chown(outside, owner, 0)

    compiled = compile_tree(str(tmp_path), trust=STRICT)
    assert names(compiled) == (["sample"] if owner == 0 else [])
    assert codes(compiled) == ([] if owner == 0 else ["DA111"])


@as_root
def test_mask_by_link_to_dev_null_is_trusted(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib", "10.yaml", samples.policy())
    mask = put(tmp_path, "etc", "10.yaml", "")
    mask.unlink()
    mask.symlink_to("/dev/null")

    compiled = compile_tree(str(tmp_path), trust=STRICT)
    assert (compiled.files, codes(compiled)) == ((), ["DA114"])


def test_the_child_prints_what_the_function_returns(tmp_path: Path) -> None:
    put(tmp_path, "etc", "10.yaml", samples.policy("a"))
    put(tmp_path, "etc", "20.yaml", "a: [\xff")
    command = [sys.executable, "-m", "damos_agent.config.compile", "--config-root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert decode(Compiled, json.loads(done.stdout)) == compile_tree(str(tmp_path))
    assert done.stderr == ""
