"""The digest is the one everybody knows, and comes without OpenSSL."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from damos_agent.model.sha256 import sha256


@pytest.mark.parametrize("data", [b"", b"policy", bytes(range(256)) * 999])
def test_it_is_sha256(data: bytes) -> None:
    assert sha256(data).hexdigest() == hashlib.sha256(data).hexdigest()


def test_the_agent_does_not_load_openssl() -> None:
    code = "import sys, damos_agent.agent.main; print('_hashlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
