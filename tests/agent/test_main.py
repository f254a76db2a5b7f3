"""The command line on a machine without DAMON: what is written, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from damos_agent.agent.main import EX_FAILURE, main
from tests.config import samples


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    (tmp_path / "etc/damos-agent/policies.d").mkdir(parents=True)
    (tmp_path / "sys").mkdir()
    (tmp_path / "etc/damos-agent/policies.d/a.yaml").write_text(samples.policy("a"))
    return tmp_path


def run(root: Path, *options: str) -> int:
    roots = {"config": root, "run": root / "run", "sysfs": root / "sys"}
    places = [f"--{name}-root={path}" for name, path in roots.items()]
    return main([*options, *places])


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_once(root: Path) -> None:
    assert run(root, "--once") == 0
    assert b'"a"' in (root / "run/loaded.json").read_bytes()


def test_a_single_dry_run_makes_not_even_the_run_directory(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, "--once", "--dry-run") == 0
    assert not (root / "run").exists()
    assert "0 writes" in capsys.readouterr().out


def test_a_single_dry_run_starts_from_what_is_kept(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that has turned bad still has its last good version, before and after."""
    run(root, "--once")
    before = contents(root / "run")
    (root / "etc/damos-agent/policies.d/a.yaml").write_text("x: [")
    capsys.readouterr()
    assert run(root, "--once", "--dry-run") == EX_FAILURE
    assert capsys.readouterr().out.startswith("a: ")
    assert contents(root / "run") == before
