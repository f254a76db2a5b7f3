"""The resident agent's budget, held by a real process on a machine without DAMON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.bench.daemon import Daemon
from tests.bench.footprint import read_memory
from tests.bench.policies import numbered

RSS_MIB = 31.0
METRICS_MIB = 33.0
"""prometheus_client brings an HTTP client and OpenSSL along, 5 MiB that are not ours to leave."""
FORBIDDEN = ("pydantic", "pydantic_core", "yaml", "click", "rich", "prometheus_client")
"""The last one is for agents that serve metrics."""

REPORTER = """
import atexit, runpy, sys
def tell():
    with open({path!r}, "w") as file:
        file.write("\\n".join(sorted(sys.modules)))
atexit.register(tell)
sys.argv[0] = "damos-agent"
runpy.run_module("damos_agent.agent.main", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "agent", sysfs=tmp_path / "sys")
    numbered(made.policies, 100)
    try:
        yield made
    finally:
        made.stop()


def test_memory_after_three_reloads_of_a_hundred_policies(daemon: Daemon) -> None:
    daemon.start()
    for _ in range(3):
        daemon.reload()
    assert daemon.events("reload_finished")[-1]["policies"] == 100
    assert read_memory(daemon.pid).rss <= RSS_MIB


def test_memory_with_metrics_after_three_reloads_and_scrapes(tmp_path: Path) -> None:
    agent = Daemon(tmp_path / "agent", "{metrics: {listen: '127.0.0.1:9946'}}", tmp_path / "sys")
    numbered(agent.policies, 10)
    try:
        agent.start()
        for _ in range(3):
            agent.reload()
            with urlopen("http://127.0.0.1:9946/metrics") as answer:
                assert b"damos_agent_policies" in answer.read()
        assert read_memory(agent.pid).rss <= METRICS_MIB
    finally:
        agent.stop()


def test_what_an_idle_agent_does_not_use_is_not_loaded(daemon: Daemon, tmp_path: Path) -> None:
    """Fractions are the compiler's, tenacity is for EBUSY."""
    told = tmp_path / "modules"
    daemon.start(program=("-c", REPORTER.format(path=str(told))))
    daemon.stop()
    assert {"fractions", "decimal", "tenacity"} & set(told.read_text().split()) == set()


def test_a_running_agent_has_loaded_nothing_heavy(daemon: Daemon, tmp_path: Path) -> None:
    told = tmp_path / "modules"
    daemon.start(program=("-c", REPORTER.format(path=str(told))))
    daemon.reload()
    daemon.stop()
    modules = told.read_text().split()
    assert "structlog" in modules
    assert "damos_agent.agent.loop" in modules
    assert [m for m in modules if m.partition(".")[0] in FORBIDDEN] == []
    assert "damos_agent.config" not in modules
