"""The resident process stays small: what it must never load, it does not load."""

import json
import pkgutil
import subprocess
import sys

import damos_agent.agent

DOCUMENTATION = {"damos_agent.agent.event_doc", "damos_agent.agent.metric_doc"}
"""Run when the source tree is built, never by the daemon."""

FORBIDDEN = ("pydantic", "pydantic_core", "yaml", "click", "rich", "numpy", "damos_agent.config")
"""asyncio is not among them: structlog and prometheus_client's parts load it themselves."""

SCRIPT = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
from damos_agent.agent.log import open_log
from damos_agent.model.settings import LogFormat, LogLevel
open_log(LogFormat.AUTO, LogLevel.INFO)
print(json.dumps(sorted(sys.modules)))
"""


def resident_modules() -> list[str]:
    found = pkgutil.iter_modules(damos_agent.agent.__path__, "damos_agent.agent.")
    return [module.name for module in found if module.name not in DOCUMENTATION]


def loaded(modules: list[str]) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(modules)],
        capture_output=True,
        text=True,
        check=True,
    )
    names: list[str] = json.loads(result.stdout)
    return names


def test_the_agent_loads_nothing_heavy() -> None:
    modules = resident_modules()
    assert "damos_agent.agent.watcher" in modules
    names = loaded(modules)
    assert set(modules) <= set(names)
    heavy = [name for name in names if any(f"{name}.".startswith(f"{f}.") for f in FORBIDDEN)]
    assert heavy == []


def test_the_check_would_notice() -> None:
    assert "yaml" in loaded(["yaml"])


def test_our_own_floor_asks_for_no_asyncio() -> None:
    """Without structlog, watchdog and prometheus_client, nothing of ours brings it in."""
    own = ["events", "notify", "sockets", "status", "compiler", "loader", "changes", "digest"]
    assert "asyncio" not in loaded_without_log([f"damos_agent.agent.{name}" for name in own])


def loaded_without_log(modules: list[str]) -> list[str]:
    script = "\n".join(line for line in SCRIPT.splitlines() if "log" not in line.lower())
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps(modules)],
        capture_output=True,
        text=True,
        check=True,
    )
    names: list[str] = json.loads(result.stdout)
    return names
