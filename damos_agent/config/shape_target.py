"""`spec.target`: whose memory the policy is about."""

from __future__ import annotations

from typing import Self

from pydantic import StrictBool, model_validator

from damos_agent.config.quantities import (
    Address,
    CgroupPath,
    ContainerId,
    Executable,
    Node,
    Pid,
    Regex,
    UnitName,
    User,
    fail,
)
from damos_agent.config.shape import Shape, described, exactly_one


class ProcessShape(Shape):
    """Processes that meet all of the given conditions, followed as they come and go."""

    exe: Executable | None = described(
        "Executable: base name (`memcached`) or absolute path.", None
    )
    cmdline: Regex | None = described(
        "Regular expression searched in the arguments joined by spaces.", None
    )
    user: User | None = described("Login name or numeric user id of the process owner.", None)

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        if not self.given():
            fail("DA033", "no condition on the process", "give exe, cmdline or user")
        return self


class CgroupShape(Shape):
    """Processes of a control group (v2)."""

    path: CgroupPath = described(
        "Absolute path inside the cgroup hierarchy, as in /proc/PID/cgroup."
    )
    descendants: StrictBool = described("Whether the groups below count too.", True)


class RangeShape(Shape):
    """Half-open range of addresses [start, end)."""

    start: Address = described("First address: a quoted '0x...' number or a size such as 4GiB.")
    end: Address = described("Address after the last.")


class PhysicalShape(Shape):
    """Physical memory. {} means all System RAM."""

    numa_node: Node | None = described("Only the memory of this NUMA node.", None)
    ranges: list[RangeShape] = described(
        "Only these ranges, ascending and without overlap.", default_factory=list, shown=[]
    )

    @model_validator(mode="after")
    def _one_restriction(self) -> Self:
        if self.numa_node is not None and self.ranges:
            fail("DA029", "`numa_node` and `ranges` exclude each other", "keep one of the two")
        return self


class TargetShape(Shape):
    """Exactly one of these."""

    pid: Pid | None = described("One process, by number.", None, kernel="targets/0/pid_target")
    pids: list[Pid] | None = described("Several processes, by number.", None, min_length=1)
    process: ProcessShape | None = described("Processes by what they are.", None)
    cgroup: CgroupShape | None = described("Processes of a control group.", None)
    systemd_unit: UnitName | None = described(
        "Processes of a systemd service, slice or scope, and everything below.", None
    )
    container: ContainerId | None = described(
        "Processes of the one container whose id starts so (6 or more hexadecimal digits).", None
    )
    physical: PhysicalShape | None = described("Physical memory instead of processes.", None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, "target")
        return self
