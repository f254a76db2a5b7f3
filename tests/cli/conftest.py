import os
from pathlib import Path

import pytest

from tests.cli.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A machine with DAMON, no policies, no agent."""
    (tmp_path / "root").mkdir()
    return Desk(tmp_path / "root", tmp_path / "run")


@pytest.fixture(autouse=True)
def _umask() -> None:
    """Files made here are such as the agent trusts, whatever the caller's umask."""
    os.umask(0o022)
