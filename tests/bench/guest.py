"""Running a measurement inside a lab guest, and getting its figures out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.vm.guest import run

TIMEOUT_S = 1800.0


def measure(
    kernel: str, module: str, *arguments: str, tell: Callable[[str], None]
) -> Mapping[str, Any]:
    """The JSON of the last line that `tests.bench.MODULE` prints in a guest of that kernel.

    The guest's clock counts instructions (two nanoseconds each), so that other load on this
    machine changes nothing, and idle time passes at once.
    """
    tell(f"{kernel}: {module} {' '.join(arguments)}")
    result = run(
        kernel,
        ["python", "-m", f"tests.bench.{module}", *arguments],
        virtual_time=True,
        timeout_s=TIMEOUT_S,
    )
    if result.returncode:
        raise RuntimeError(f"{module} failed on {kernel}: {result.stderr[-2000:]}")
    tell(f"{kernel}: {module} done in {result.seconds:.0f} s")
    return dict(json.loads(result.stdout.splitlines()[-1]))
