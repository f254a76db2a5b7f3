"""The units as systemd itself judges them."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from damos_agent.agent.listeners import parse_loopback
from damos_agent.agent.loader import DEFAULT_PATH as LOADED_PATH
from damos_agent.agent.status import DEFAULT_PATH as STATUS_PATH

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = UNITS / "damos-agent.service"
SOCKET = UNITS / "damos-agent-metrics.socket"
EXAMPLES = sorted(UNITS.glob("damos-agent.service.d/*.conf.example"))


@pytest.fixture
def analyze() -> str:
    """systemd-analyze; where CI runs, it must be there."""
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have systemd-analyze, or the units go unchecked")
        pytest.skip("systemd-analyze is not installed")
    return program


def options(path: Path) -> list[tuple[str, str]]:
    lines = [line for line in path.read_text().splitlines() if re.match(r"\w+=", line)]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def security(analyze: str, unit: Path, threshold: int) -> subprocess.CompletedProcess[str]:
    command = [analyze, "security", "--offline=true", f"--threshold={threshold}", str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_exposure_stays_low(analyze: str, tmp_path: Path) -> None:
    """systemd 252 says 1.6 of 10. The threshold counts tenths; other releases weigh a bit apart."""
    result = security(analyze, SERVICE, 20)
    print(result.stdout.splitlines()[-1])
    assert result.returncode == 0, result.stdout
    bare = tmp_path / SERVICE.name
    bare.write_text(SERVICE.read_text().replace("CapabilityBoundingSet=", "# "))
    assert security(analyze, bare, 20).returncode != 0


def with_program(directory: Path) -> Path:
    """The service with a program that exists on the machine of the test."""
    unit = directory / SERVICE.name
    unit.write_text(SERVICE.read_text().replace("ExecStart=damos-agent", "ExecStart=/bin/true"))
    shutil.copy(SOCKET, directory)
    return unit


def verify(analyze: str, *units: Path) -> str:
    result = subprocess.run(
        [analyze, "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    return result.stderr + ("" if result.returncode == 0 else f"exit {result.returncode}")


def test_systemd_finds_nothing_to_complain_about(analyze: str, tmp_path: Path) -> None:
    unit = with_program(tmp_path)
    assert verify(analyze, unit, tmp_path / SOCKET.name) == ""


def test_systemd_would_complain_about_a_misspelt_option(analyze: str, tmp_path: Path) -> None:
    unit = with_program(tmp_path)
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHomes="))
    assert "ProtectHomes" in verify(analyze, unit)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_sound_and_not_active(analyze: str, tmp_path: Path, example: Path) -> None:
    assert example.suffix == ".example"  # systemd reads *.conf only
    unit = with_program(tmp_path)
    drop_ins = tmp_path / "damos-agent.service.d"
    drop_ins.mkdir()
    shutil.copy(example, drop_ins / example.stem)
    told = verify(analyze, unit)
    # notify-reload came with systemd 253; older ones say they do not know it.
    assert told == "" or ("notify-reload" in example.name and "service type" in told)


def test_the_unit_and_the_program_agree() -> None:
    given = options(SERVICE)
    assert ("ExecStart", "damos-agent") in given
    assert ("RestartPreventExitStatus", "77 78") in given
    assert ("RuntimeDirectoryPreserve", "yes") in given
    (runtime,) = [value for key, value in given if key == "RuntimeDirectory"]
    assert Path(LOADED_PATH).parent == Path(STATUS_PATH).parent == Path("/run", runtime)
    assert ("ReadWritePaths", "-/sys/kernel/mm/damon -/sys/module/damon_stat/parameters") in given


@pytest.mark.parametrize("unit", [SERVICE, SOCKET], ids=lambda path: path.name)
def test_the_documentation_it_names_is_in_the_wheel(unit: Path) -> None:
    """Below the prefix that docs/installation.md installs to."""
    project = tomllib.loads((UNITS.parent / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    prefix = "file:/usr/lib/damos-agent/"
    named = dict(options(unit))["Documentation"].split()
    pages = [uri.removeprefix(prefix) for uri in named if uri.startswith("file:")]

    sources = [
        UNITS.parent / source / page.removeprefix(f"{target}/")
        for page in pages
        for source, target in wheel.items()
        if page.startswith(f"{target}/")
    ]

    assert len(sources) == len(pages) > 0
    assert [path for path in sources if not path.is_file()] == []
    assert [
        uri for uri in named if not uri.startswith(("file:/", "https://docs.kernel.org/"))
    ] == []


def test_the_metrics_socket_is_on_loopback_and_named_as_the_agent_looks_for_it() -> None:
    given = dict(options(SOCKET))
    assert parse_loopback(given["ListenStream"])[0] == "127.0.0.1"
    assert given["FileDescriptorName"] == "metrics"
