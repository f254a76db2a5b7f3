"""An agent that leaves first gives new quotas their second round."""

from __future__ import annotations

from pathlib import Path

import pytest

from damos_agent.agent.priming import finish_priming
from tests.agent.engine import PHYSICAL, Engine, running
from tests.agent.world import World

LIMIT_US = 30_000_000
ACTING = PHYSICAL.replace("observe", "enforce")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    tmp_path.chmod(0o755)
    made = Engine(tmp_path, "6.12")
    (made.policies / "a.yaml").write_text(ACTING)
    return made


def matches(world: World) -> bool:
    tree = world.damon.running(0)
    return tree["schemes/0/access_pattern/sz/max"] != "0"


def test_the_second_round_is_waited_for(engine: Engine) -> None:
    with running(engine):
        engine.reloads(1)
        assert not matches(engine.world)
        assert finish_priming(engine.core, engine.world.advance, LIMIT_US)
        assert matches(engine.world)
        (told,) = engine.world.events("priming_awaited")
        assert told["policies"] == ["phys"]
        assert engine.core.reconcile().plan.empty  # type: ignore[union-attr]


def test_a_window_that_is_too_long_is_told(engine: Engine) -> None:
    (engine.policies / "a.yaml").write_text(ACTING.replace("interval: 1s", "interval: 1h"))
    with running(engine):
        engine.reloads(1)
        assert not finish_priming(engine.core, engine.world.advance, LIMIT_US)
        (told,) = engine.world.events("priming_left")
        assert told["policies"] == ["phys"]


def test_a_kernel_that_cannot_be_looked_at_ends_the_waiting(engine: Engine) -> None:
    with running(engine):
        engine.reloads(1)
        engine.world.advance(60)
        del engine.world.machine.files["/proc/sys/kernel/random/boot_id"]
        assert not finish_priming(engine.core, lambda _seconds: None, LIMIT_US)


def test_without_priming_nothing_is_waited_for(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    engine = Engine(tmp_path, "6.18")
    (engine.policies / "a.yaml").write_text(ACTING)
    with running(engine):
        engine.reloads(1)
        assert finish_priming(engine.core, _never, LIMIT_US)


def _never(_seconds: float) -> None:
    raise AssertionError("nothing to wait for")
