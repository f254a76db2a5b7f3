"""Where the machine's file systems are mounted; relocated for tests and containers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Roots:
    """Absolute directories: sysfs, procfs, the cgroup hierarchy, the configuration, our state."""

    sysfs: str = "/sys"
    proc: str = "/proc"
    cgroup: str = "/sys/fs/cgroup"
    config: str = "/"
    run: str = "/run/damos-agent"
