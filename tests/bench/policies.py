"""Policies as the benchmarks write them: each pages out what one process leaves cold."""

from __future__ import annotations

import os
from pathlib import Path

_POLICY = """\
apiVersion: damos-agent/v1
kind: Policy
metadata:
  name: {name}
spec:
  mode: enforce
  target: {target}
  monitoring:
    sampling_interval: {sample}
    aggregation_interval: {aggregate}
    update_interval: {update}
  schemes:
    - action: pageout
      pattern:
        access_rate: {{min: 0%, max: 0%}}
        age: {{min: 60s}}
      quota:
        size: {size}
        interval: 1s
"""

DAMON_DEFAULTS = ("5ms", "100ms", "1s")
SLOW = ("100ms", "2s", "10s")
"""A hundred kdamonds at the default rate would take an emulated CPU for themselves."""


def policy(
    name: str, target: str, size: str = "8MiB", intervals: tuple[str, str, str] = DAMON_DEFAULTS
) -> str:
    """YAML; `target` is flow YAML such as `{pid: 17}`."""
    sample, aggregate, update = intervals
    return _POLICY.format(
        name=name, target=target, size=size, sample=sample, aggregate=aggregate, update=update
    )


def put(directory: Path, name: str, text: str) -> None:
    """Drop or replace the file of that policy by renaming."""
    temporary = directory / f".{name}.tmp"
    temporary.write_text(text)
    os.replace(temporary, directory / f"{name}.yaml")


def numbered(directory: Path, count: int) -> None:
    """Write `count` policies that need no process to be compiled."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = f"p{number:03}"
        put(directory, name, policy(name, f"{{process: {{exe: {name}}}}}"))
