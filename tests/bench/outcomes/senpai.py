# SPDX-License-Identifier: Apache-2.0
"""Senpai's law on memory.reclaim: `python -m tests.bench.outcomes.senpai GROUP...`, until ended.

As published (Weiner et al., TMO, ASPLOS 2022): every six seconds a share of 0.0005 of a control
group's memory, times one less what its pressure is of 0.1 %, and never less than nothing.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress
from pathlib import Path

RATIO, PRESSURE, INTERVAL_S = 0.0005, 0.001, 6.0


def share(pressure: float) -> float:
    """Of its memory, what a group gives back in this round; `pressure` is the share of time."""
    return RATIO * max(0.0, 1 - pressure / PRESSURE)


def parse_total_us(text: str) -> int:
    """The time that some task was stalled, of a pressure file."""
    match = re.search(r"^some .*total=(\d+)", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"not a pressure file: {text!r}")
    return int(match[1])


def _stalled_us(group: Path) -> int:
    return parse_total_us((group / "memory.pressure").read_text())


def main() -> None:
    before = {group: _stalled_us(group) for group in map(Path, sys.argv[1:])}
    while True:
        time.sleep(INTERVAL_S)
        for group, total_us in before.items():
            before[group] = _stalled_us(group)
            pressure = (before[group] - total_us) / (INTERVAL_S * 1e6)
            current = int((group / "memory.current").read_text())
            if wanted := int(current * share(pressure)):
                # EAGAIN: less was there to be had.
                with suppress(OSError):
                    (group / "memory.reclaim").write_text(str(wanted))


if __name__ == "__main__":
    main()
