# SPDX-License-Identifier: Apache-2.0
"""Real programs for workloads, in the lab's cache and never in the project or on the machine."""

from __future__ import annotations

import subprocess
import tempfile
import venv
from pathlib import Path

from tests.vm.apt import Apt
from tests.vm.packages import cache_root, lock

_SUITES = ("bookworm", "bookworm-security")
_REDIS = (
    *("redis-server", "redis-tools"),
    *("libjemalloc2", "liblua5.1-0", "liblzf1", "lua-cjson", "lua-bitop"),
)


def redis() -> Path:
    """A tree with redis-server and the libraries that come with it, from Debian."""
    home = cache_root() / "redis"
    with lock("redis.lock"):
        if not home.exists():
            with tempfile.TemporaryDirectory(prefix=".redis-", dir=cache_root()) as staging:
                apt = Apt(Path(staging) / "apt")
                apt.update(_SUITES)
                apt.download_and_unpack(_REDIS, Path(staging) / "tree")
                (Path(staging) / "tree").rename(home)
    return home


def numpy() -> Path:
    """A Python that has numpy."""
    home = cache_root() / "numpy"
    python = home / "bin/python"
    with lock("numpy.lock"):
        if not (home / "installed").exists():
            venv.create(home, with_pip=True, clear=True)
            words = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "numpy>=1.26"]
            subprocess.run([str(python), *words], check=True)
            (home / "installed").touch()
    return python
