"""The digest changes exactly when something the compiler looks at changes."""

import os
import time
from pathlib import Path

import pytest

from damos_agent.agent.digest import READ_LIMIT, YOUNG_NS, digest_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "etc/damos-agent/policies.d"
    directory.mkdir(parents=True)
    (directory / "10-a.yaml").write_text("aaaa")
    (directory / "20-b.yaml").write_text("bbbb")
    return tmp_path


def digest(root: Path) -> str:
    return digest_tree(str(root))[0]


def policy(root: Path, name: str = "10-a.yaml") -> Path:
    return root / "etc/damos-agent/policies.d" / name


def test_the_same_tree_has_the_same_digest(root: Path) -> None:
    assert digest(root) == digest(root)


def test_what_is_no_policy_does_not_count(root: Path) -> None:
    before = digest(root)
    policy(root, "README").write_text("x")
    policy(root, ".10-a.yaml.swp").write_text("x")
    (root / "etc/damos-agent/other").write_text("x")
    assert digest(root) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: policy(root).write_text("AAAA"),
        lambda root: policy(root).unlink(),
        lambda root: policy(root).rename(policy(root, "30-a.yaml")),
        lambda root: policy(root).chmod(0o666),
        lambda root: policy(root).parent.chmod(0o777),
        lambda root: policy(root, "30-c.yaml").symlink_to("/dev/null"),
        lambda root: (root / "etc/damos-agent/agent.yaml").write_text("x"),
        lambda root: (root / "usr/lib/damos-agent/policies.d").mkdir(parents=True),
    ],
)
def test_every_change_shows(root: Path, change: object) -> None:
    assert callable(change)
    before, seen = digest_tree(str(root))
    change(root)
    assert digest_tree(str(root), seen)[0] != before


def test_swapped_contents_show(root: Path) -> None:
    before = digest(root)
    policy(root).write_text("bbbb")
    policy(root, "20-b.yaml").write_text("aaaa")
    assert digest(root) != before


def test_unchanged_files_are_not_read_again(root: Path) -> None:
    """A remembered digest stands for the content until the file's ctime moves."""
    later = time.time_ns() + 2 * YOUNG_NS
    first, seen = digest_tree(str(root), clock_ns=lambda: later)
    remembered = {path: (identity, "remembered") for path, (identity, _) in seen.items()}
    _, kept = digest_tree(str(root), remembered, clock_ns=lambda: later)
    assert {content for _, content in kept.values()} == {"remembered"}
    os.utime(policy(root))
    os.utime(policy(root, "20-b.yaml"))
    again, _ = digest_tree(str(root), remembered, clock_ns=lambda: later)
    assert again == first


def test_a_file_too_young_to_trust_its_time_stamp_is_read_again(root: Path) -> None:
    """Two writes of one length within a clock tick leave the same size and times."""
    _, seen = digest_tree(str(root))
    assert seen == {}


def test_a_fifo_or_a_huge_file_does_not_hold_us_up(root: Path) -> None:
    os.mkfifo(policy(root, "30-fifo.yaml"))
    with policy(root, "40-huge.yaml").open("wb") as huge:
        huge.truncate(READ_LIMIT * 1000)
    before = digest(root)
    with policy(root, "40-huge.yaml").open("r+b") as huge:
        huge.seek(READ_LIMIT * 900)
        huge.write(b"x")
    assert digest(root) != before
