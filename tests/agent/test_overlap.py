"""Two enforcing policies on one process: both go on, and users are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from damos_agent.agent.loader import Loaded, LoadedPolicy
from damos_agent.model.policy import Mode, Policy, ProcessTarget
from damos_agent.model.status import PolicyState
from tests.agent.engine import Engine
from tests.kernel.desk import reclaim

ONE = replace(reclaim("one"), target=ProcessTarget(exe="memcached"))
TWO = replace(reclaim("two"), target=ProcessTarget(cmdline="memcached"))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = Engine(tmp_path)
    made.world.spawn("memcached")
    return made


def go(engine: Engine, policies: Sequence[Policy]) -> None:
    entries = tuple(LoadedPolicy(f"/etc/{p.name}.yaml", repr(p), p) for p in policies)
    engine.core.loaded = Loaded(policies=entries)
    engine.core.reconcile()


def notes(engine: Engine) -> dict[str, tuple[str, ...]]:
    return {policy.name: policy.notes for policy in engine.core.status().policies}


def test_an_overlap_is_told_once_and_stops_nobody(engine: Engine) -> None:
    for _ in range(3):
        go(engine, [ONE, TWO])
    (event,) = engine.world.events("policies_overlap")
    assert (event["policies"], event["processes"]) == (["one", "two"], 1)
    states = {standing.state for standing in engine.core.standings.values()}
    assert states == {PolicyState.ACTIVE}
    assert notes(engine) == {
        "one": ("policy two acts on the same process too",),
        "two": ("policy one acts on the same process too",),
    }


def test_who_only_observes_fights_with_nobody(engine: Engine) -> None:
    go(engine, [ONE, replace(TWO, mode=Mode.OBSERVE)])
    assert not engine.world.events("policies_overlap")
    assert notes(engine) == {"one": (), "two": ()}


def test_an_overlap_that_comes_back_with_an_edit_is_told_again(engine: Engine) -> None:
    go(engine, [ONE, TWO])
    go(engine, [ONE])
    go(engine, [ONE, TWO])
    assert len(engine.world.events("policies_overlap")) == 2
