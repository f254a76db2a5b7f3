"""Real inotify on temporary directories: whatever editors and operators do ends in a hint."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from damos_agent.agent.debounce import Debounce
from damos_agent.agent.digest import digest_tree
from damos_agent.agent.inotify import InotifyWatcher
from damos_agent.agent.watch_points import watch_points
from damos_agent.agent.watcher import Watcher, WatchFailure, open_watcher
from damos_agent.model.settings import WatchMethod

PATIENCE_S = 10.0


class Bell:
    """Counts wakes, and lets a test wait for the next one."""

    def __init__(self) -> None:
        self.rings = 0
        self._changed = threading.Condition()

    def ring(self) -> None:
        with self._changed:
            self.rings += 1
            self._changed.notify_all()

    def wait_beyond(self, rings: int, timeout_s: float = PATIENCE_S) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.rings > rings, timeout_s)

    def settle(self, quiet_s: float = 0.7) -> int:
        """Wait until nothing has rung for a while (watchdog holds half a move for 0.5 s)."""
        while self.wait_beyond(self.rings, quiet_s):
            pass
        return self.rings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/damos-agent/policies.d").mkdir(parents=True)
    for base in ("run", "usr/lib", "usr/local/lib"):
        (tmp_path / base).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def watcher(root: Path, bell: Bell) -> Iterator[Watcher]:
    watcher = open_watcher(str(root), bell.ring)
    yield watcher
    watcher.stop()


def policies(root: Path, base: str = "etc") -> Path:
    return root / base / "damos-agent/policies.d"


def test_a_plain_write_wakes(root: Path, bell: Bell, watcher: Watcher) -> None:
    (policies(root) / "10-a.yaml").write_text("a")
    assert bell.wait_beyond(0)


def test_an_atomic_rename_wakes(root: Path, bell: Bell, watcher: Watcher) -> None:
    temporary = root / "new"
    temporary.write_text("b")
    temporary.rename(policies(root) / "10-a.yaml")
    assert bell.wait_beyond(0)


def test_removal_wakes(root: Path, bell: Bell, watcher: Watcher) -> None:
    path = policies(root) / "10-a.yaml"
    path.write_text("a")
    rings = bell.settle()
    path.unlink()
    assert bell.wait_beyond(rings)


def test_our_own_reads_do_not_wake(root: Path, bell: Bell, watcher: Watcher) -> None:
    (policies(root) / "10-a.yaml").write_text("a")
    rings = bell.settle()
    for _ in range(20):
        digest_tree(str(root))
        (policies(root) / "10-a.yaml").read_text()
        watcher.rearm()
    assert bell.settle(0.3) == rings


def test_our_own_files_below_run_do_not_wake(root: Path, bell: Bell, watcher: Watcher) -> None:
    (root / "run/damos-agent").mkdir()
    assert bell.wait_beyond(0)
    watcher.rearm()
    rings = bell.settle()
    (root / "run/damos-agent/loaded.json").write_text("{}")
    (root / "run/other").write_text("")
    assert bell.settle(0.3) == rings


def test_editors_temporary_files_do_not_wake_but_saving_does(
    root: Path, bell: Bell, watcher: Watcher
) -> None:
    """vim writes 4913 and .swp, keeps a backup~ and renames; emacs locks with a dangling link."""
    directory = policies(root)
    policy = directory / "10-a.yaml"
    policy.write_text("old")
    rings = bell.settle()
    (directory / ".10-a.yaml.swp").write_text("swap")
    (directory / "4913").write_text("")
    (directory / "4913").unlink()
    (directory / "#10-a.yaml#").write_text("autosave")
    assert bell.settle(0.3) == rings
    policy.rename(directory / "10-a.yaml~")
    policy.write_text("new")
    (directory / ".10-a.yaml.swp").unlink()
    assert bell.wait_beyond(rings)


def test_a_removed_and_recreated_directory_is_watched_again(
    root: Path, bell: Bell, watcher: Watcher
) -> None:
    directory = policies(root)
    for attempt in range(3):
        rings = bell.settle()
        directory.rmdir()
        directory.mkdir()
        assert bell.wait_beyond(rings), attempt
        watcher.rearm()
        rings = bell.settle()
        (directory / "10-a.yaml").write_text(str(attempt))
        assert bell.wait_beyond(rings), attempt
        (directory / "10-a.yaml").unlink()
        bell.settle()
        watcher.rearm()


def test_a_directory_moved_away_is_no_longer_watched_but_its_successor_is(
    root: Path, bell: Bell, watcher: Watcher
) -> None:
    directory = policies(root)
    directory.rename(directory.with_name("old"))
    directory.mkdir()
    assert bell.wait_beyond(0)
    watcher.rearm()
    rings = bell.settle()
    (directory.with_name("old") / "10-a.yaml").write_text("not ours")
    assert bell.settle(0.3) == rings
    (directory / "10-a.yaml").write_text("ours")
    assert bell.wait_beyond(rings)


def test_directories_that_do_not_exist_yet_are_waited_for(tmp_path: Path, bell: Bell) -> None:
    watcher = open_watcher(str(tmp_path), bell.ring)
    try:
        for step in ("usr", "usr/local", "usr/local/lib", "usr/local/lib/damos-agent"):
            rings = bell.settle(0.1)
            (tmp_path / step).mkdir()
            assert bell.wait_beyond(rings), step
            watcher.rearm()
        rings = bell.settle(0.1)
        policies(tmp_path, "usr/local/lib").mkdir()
        assert bell.wait_beyond(rings)
        watcher.rearm()
        rings = bell.settle(0.1)
        (policies(tmp_path, "usr/local/lib") / "10-a.yaml").write_text("a")
        assert bell.wait_beyond(rings)
    finally:
        watcher.stop()


def test_agent_yaml_wakes(root: Path, bell: Bell, watcher: Watcher) -> None:
    (root / "etc/damos-agent/agent.yaml").write_text("spec: {}")
    assert bell.wait_beyond(0)


def config_map(directory: Path, version: str, text: str) -> None:
    """Publish a ConfigMap version as the kubelet does: new directory, atomic link swap."""
    (directory / f"..{version}").mkdir()
    (directory / f"..{version}/10-a.yaml").write_text(text)
    (directory / "..data_tmp").symlink_to(f"..{version}")
    (directory / "..data_tmp").rename(directory / "..data")


def test_a_config_map_swap_wakes_and_changes_the_digest(
    root: Path, bell: Bell, watcher: Watcher
) -> None:
    directory = policies(root)
    config_map(directory, "1", "one")
    (directory / "10-a.yaml").symlink_to("..data/10-a.yaml")
    assert bell.wait_beyond(0)
    watcher.rearm()
    rings = bell.settle()
    before, seen = digest_tree(str(root))
    config_map(directory, "2", "two")
    shutil.rmtree(directory / "..1")
    assert bell.wait_beyond(rings)
    assert digest_tree(str(root), seen)[0] != before


def test_a_linked_directory_and_a_linked_file_are_watched_where_they_really_are(
    root: Path, bell: Bell, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "policies").mkdir()
    (elsewhere / "files").mkdir()
    (elsewhere / "files/b.yaml").write_text("b")
    policies(root).rmdir()
    policies(root).symlink_to(elsewhere / "policies")
    (elsewhere / "policies/20-b.yaml").symlink_to("../files/b.yaml")
    watcher = open_watcher(str(root), bell.ring)
    try:
        (elsewhere / "policies/10-a.yaml").write_text("a")
        assert bell.wait_beyond(0)
        rings = bell.settle()
        (elsewhere / "files/b.yaml").write_text("b2")
        assert bell.wait_beyond(rings)
    finally:
        watcher.stop()


def test_a_burst_of_a_thousand_edits_is_one_reload_that_sees_the_last(
    root: Path, bell: Bell, watcher: Watcher
) -> None:
    # Longer than a busy machine keeps the writer waiting between two edits.
    debounce = Debounce(settle_us=2_000_000, limit_us=60_000_000)
    path = policies(root) / "10-a.yaml"
    writer = threading.Thread(target=lambda: [path.write_text(str(n)) for n in range(1000)])
    writer.start()
    seen_texts = []
    rings = 0
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        bell.wait_beyond(rings, 0.01)
        now_us = time.monotonic_ns() // 1000
        if bell.rings != rings:
            rings = bell.rings
            debounce = debounce.hint(now_us)
        if debounce.due(now_us):
            debounce = debounce.fired()
            seen_texts.append(path.read_text())
            if not writer.is_alive() and bell.settle(0.2) == rings:
                break
    writer.join()
    assert seen_texts == ["999"]


def test_links_that_loop_end(root: Path) -> None:
    (policies(root) / "10-a.yaml").symlink_to("20-b.yaml")
    (policies(root) / "20-b.yaml").symlink_to("10-a.yaml")
    assert str(policies(root)) in watch_points(str(root))
    digest_tree(str(root))


def test_a_mask_does_not_lead_us_to_watch_dev(root: Path) -> None:
    (policies(root) / "10-a.yaml").symlink_to("/dev/null")
    assert not {"/", "/dev"} & watch_points(str(root)).keys()


def test_few_directories_are_watched(root: Path, bell: Bell) -> None:
    """Each costs a thread of watchdog's."""
    watcher = InotifyWatcher(str(root), bell.ring)
    try:
        expected = {"etc", "etc/damos-agent", "etc/damos-agent/policies.d", "run"}
        expected |= {"usr/lib", "usr/local/lib"}
        assert watcher.watched == {str(root / path) for path in expected}
    finally:
        watcher.stop()


def test_a_directory_that_cannot_be_watched_is_told(root: Path, bell: Bell) -> None:
    watcher = InotifyWatcher(str(root), bell.ring)
    try:
        failure = watcher._arm(str(root / "gone"))
        assert failure == WatchFailure(str(root / "gone"), "No such file or directory")
        assert watcher.rearm() == ()
    finally:
        watcher.stop()


def test_polling_sees_changes_too(root: Path, bell: Bell) -> None:
    watcher = open_watcher(str(root), bell.ring, WatchMethod.POLL, poll_s=0.02)
    try:
        (policies(root) / "10-a.yaml").write_text("a")
        assert bell.wait_beyond(0)
        assert watcher.rearm() == ()
        rings = bell.settle(0.1)
        (policies(root) / "10-a.yaml").write_text("b")
        assert bell.wait_beyond(rings)
    finally:
        watcher.stop()


def test_nothing_wakes_after_stop(root: Path, bell: Bell) -> None:
    watcher = open_watcher(str(root), bell.ring)
    watcher.stop()
    (policies(root) / "10-a.yaml").write_text("a")
    assert bell.settle(0.2) == 0


@pytest.mark.parametrize(
    "path",
    [
        "etc/damos-agent/policies.d/10-a.yaml",
        "etc/damos-agent/policies.d",
        "etc/damos-agent",
        "etc",
        "etc/damos-agent/agent.yaml",
    ],
)
def test_rights_that_change_wake_and_change_the_digest(
    root: Path, bell: Bell, watcher: Watcher, path: str
) -> None:
    """A policy that others may write is refused, so whoever repairs that wants it noticed."""
    (policies(root) / "10-a.yaml").write_text("a")
    (root / "etc/damos-agent/agent.yaml").write_text("a")
    watcher.rearm()
    rings, before = bell.settle(), digest_tree(str(root))[0]
    (root / path).chmod(0o707)
    assert bell.wait_beyond(rings)
    assert digest_tree(str(root))[0] != before
    watcher.rearm()
    rings = bell.settle()
    (root / path).chmod(0o700)
    assert bell.wait_beyond(rings)
