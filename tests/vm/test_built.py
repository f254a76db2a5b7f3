# SPDX-License-Identifier: Apache-2.0
"""A kernel that no archive has: how it is told from the others while it is not built."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm.build_idle import CONFIG, unmet
from tests.vm.errors import KernelUnavailableError
from tests.vm.guest import PROJECT
from tests.vm.packages import IDLE, cached, fetch


def test_settings_that_a_kernel_does_not_know_are_noticed() -> None:
    wanted = '# CONFIG_NOT_ASKED is not set\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_TEXT="-x"\n'
    made = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\nCONFIG_TEXT="-x"\n'
    assert unmet(wanted, made) == ["CONFIG_B=y"]


def test_each_setting_is_asked_for_once() -> None:
    names = [line.partition("=")[0] for line in CONFIG.read_text("utf-8").splitlines()]
    settings = [name for name in names if name.startswith("CONFIG_")]
    assert len(settings) == len(set(settings))


def test_a_kernel_that_must_be_built_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cached(IDLE) is None
    with pytest.raises(KernelUnavailableError, match=r"python -m tests\.vm\.build_idle"):
        fetch(IDLE)


def test_without_that_kernel_its_tests_are_left_out_with_a_word(tmp_path: Path) -> None:
    """They do not run, nor are they skipped; and a run of nothing else has failed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "idle_kernel", "tests/guest/test_page_idle.py"],
        cwd=PROJECT,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "kernel 7.3-idle is not built; make test-idle" in done.stdout
    assert "skipped" not in done.stdout
