# SPDX-License-Identifier: Apache-2.0
"""Records a real DAMON sysfs tree with one of everything: `capture_damon.py OUTPUT.json`.

Runs in a lab guest, where nothing else uses DAMON. Every directory of a counter file gets a
child or two, no other file is written, so the contents are the kernel's defaults. Written is
{"kernel": uname -r, "files": {path below admin/: {"mode": "0600", "content": "…"}}}; a file
that refuses to be read has {"mode", "errno"} instead.
"""

import errno
import json
import os
import stat
import sys
from pathlib import Path

ADMIN = Path("/sys/kernel/mm/damon/admin")
GUEST_VARIABLE = "DAMOS_LAB_KERNEL"

# The counter files, and how many children each directory gets. Other files named nr_* (weights,
# statistics) are values.
_CHILDREN = {
    "nr_kdamonds": 1,
    "nr_contexts": 1,
    "nr_targets": 2,
    "nr_regions": 1,
    "nr_schemes": 1,
    "nr_goals": 1,
    "nr_filters": 1,
    "nr_dests": 1,
    "nr_probes": 1,
}


def stage(admin: Path) -> None:
    """Every counter file below `admin` has been written once, parents before children."""
    done: set[Path] = set()
    while True:
        counters = [path for path in admin.rglob("nr_*") if path.name in _CHILDREN]
        pending = sorted(path for path in counters if path.is_file() and path not in done)
        if not pending:
            return
        counter = min(pending, key=lambda path: len(path.parts))
        counter.write_text(str(_CHILDREN[counter.name]), encoding="ascii")
        done.add(counter)


def record(admin: Path) -> dict[str, dict[str, str]]:
    """Mode and content of every file below `admin`, by relative path."""
    files: dict[str, dict[str, str]] = {}
    for path in sorted(admin.rglob("*")):
        if path.is_file():
            mode = f"{stat.S_IMODE(path.stat().st_mode):04o}"
            files[str(path.relative_to(admin))] = {"mode": mode, **_content(path)}
    return files


def _content(path: Path) -> dict[str, str]:
    try:
        return {"content": path.read_text(encoding="ascii")}
    except OSError as error:
        return {"errno": errno.errorcode.get(error.errno or 0, "unknown")}


def main(output: Path) -> None:
    if GUEST_VARIABLE not in os.environ:
        raise SystemExit("refused: this writes DAMON's sysfs and runs in a lab guest only")
    stage(ADMIN)
    captured = {"kernel": os.uname().release, "files": record(ADMIN)}
    output.write_text(json.dumps(captured, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
