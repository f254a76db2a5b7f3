"""damo 3.4.3 in a virtual environment of its own, in the lab's cache and never in the project's."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

VERSION = "3.4.3"


def install() -> Path:
    """The program; put there by pip on first use."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = caches / "damos-agent-lab" / f"damo-{VERSION}"
    program = place / "bin/damo"
    if not program.exists():
        venv.create(place, with_pip=True)
        words = [str(place / "bin/pip"), "install", "--quiet", f"damo=={VERSION}"]
        subprocess.run(words, check=True)
    return program
