"""The record in /run and the lock: what happens when they cannot be written or make no sense."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from damos_agent.agent.ledger import AgentLock, load_ledger, save_ledger, write_atomically
from damos_agent.model.damon import Ledger, SlotRecord
from damos_agent.model.errors import HostError, OwnershipError
from damos_agent.model.status import PolicyState
from tests.agent.world import World
from tests.kernel.desk import reclaim, with_quota

OURS = Ledger("boot", 16, {3: SlotRecord("a", "digest", 99, intent="other")})


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_ledger(str(tmp_path), OURS)
    assert load_ledger(str(tmp_path)) == OURS
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_where_there_is_none_nothing_is_ours(tmp_path: Path) -> None:
    assert load_ledger(str(tmp_path)) == Ledger()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"x": 1}', '{"boot_id": "b", "slots": 3}'])
def test_a_senseless_record_is_no_empty_one(tmp_path: Path, text: str) -> None:
    """What it did name would be somebody else's from now on."""
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(OwnershipError, match="cannot be read"):
        load_ledger(str(tmp_path))


def test_what_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "state.json.new").mkdir()
    with pytest.raises(HostError, match="cannot be written") as caught:
        save_ledger(str(tmp_path), OURS)
    assert caught.value.hint
    with pytest.raises(HostError, match="lock cannot be taken"):
        AgentLock.take(str(tmp_path / "absent"))


def test_a_failed_write_leaves_the_old_text_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(str(path), "new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


def test_without_a_record_nothing_is_begun_and_later_it_goes_on() -> None:
    """A full /run: what runs goes on as it is, and the agent lives."""
    world = World()
    policy = reclaim("a", world.spawn())
    world.go(policy)
    saved = world.reconciler._save

    def full(_ledger: Ledger) -> None:
        raise HostError("it cannot be written: No space left on device", errno=errno.ENOSPC)

    world.reconciler._save = full
    before = len(world.damon.log)
    with pytest.raises(HostError, match="No space"):
        world.go(with_quota(policy, 9 << 20))
    assert len(world.damon.log) == before
    assert world.damon.running(0)
    world.reconciler._save = saved
    done = world.go(with_quota(policy, 9 << 20))
    assert done.standings["a"].state is PolicyState.ACTIVE
    world.reconciler._save = full
    with pytest.raises(HostError):
        world.reconciler.release(world.settings)
    assert not world.damon.running(0)
