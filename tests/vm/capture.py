# SPDX-License-Identifier: Apache-2.0
"""Records the DAMON sysfs of kernels into tests/sim/captured: `python -m tests.vm.capture 7.3`."""

import sys
import tempfile
from pathlib import Path

from tests.vm.guest import PROJECT, run

CAPTURED = PROJECT / "tests" / "sim" / "captured"


def capture(series: str, directory: Path = CAPTURED) -> Path:
    """The tree of a kernel of that series, recorded as `directory`/SERIES.json."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="damos-lab-capture-") as name:
        script = Path(__file__).with_name("capture_damon.py")
        command = ["python", str(script), "/run/captured/tree.json"]
        result = run(series, command, modules=(), writable={"/run/captured": Path(name)})
        if result.returncode != 0:
            raise SystemExit(f"{series}: {result.stderr}")
        text = (Path(name) / "tree.json").read_text(encoding="utf-8")
    output = directory / f"{series}.json"
    output.write_text(text, encoding="utf-8")
    return output


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print(capture(wanted))
