"""`spec.schemes[].quota`: how much may be done, and what it is steered by."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Discriminator, StrictInt, Tag, model_validator

from damos_agent.config.quantities import (
    U32,
    CgroupPath,
    Duration,
    FilePath,
    Name,
    Node,
    RatePerMinute,
    Share,
    Size,
    SizeCap,
    TimeCap,
    fail,
    parse_rate_bp,
)
from damos_agent.config.shape import Shape, described, exactly_one, one_source
from damos_agent.model.errors import UnitError
from damos_agent.model.policy import METRIC_UNITS, GoalMetric, MetricUnit, Tuner
from damos_agent.model.units import ULONG_MAX, parse_share_bp, parse_size_bytes


class UserInput(Shape):
    """A number of your own: the quota grows while it is below `target`.

    It stands in the policy (`current`), is told to the agent (`feed`), or is in a `file`.
    """

    target: StrictInt = described("What the number should become.", ge=0, le=ULONG_MAX)
    current: StrictInt | None = described("What it is now.", None, ge=0, le=ULONG_MAX)
    feed: Name | None = described("Fed by `damosctl feed NAME NUMBER`.", None)
    file: FilePath | None = described("The first word of that file, a whole number.", None)
    stale_after: Duration = described(
        "From then on it counts as unknown, which lowers the quota.", 60_000_000, shown="1m"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.feed is not None and self.file is not None:
            one_source(self.feed, self.file)
        if self.current is not None and (self.feed or self.file):
            fail("DA029", "`current` is told by the policy and from outside", "remove current")
        return self


class GroupShare(Shape):
    """A share of time or a rate, of one control group."""

    target: Share = described("Share of time.")
    cgroup: CgroupPath = described("Control group, with everything below it.")


class GroupRate(Shape):
    """A rate of one control group."""

    target: RatePerMinute = described("Share of what is resident, per minute.")
    cgroup: CgroupPath = described("Control group, with everything below it.")


class GroupSize(Shape):
    """A size of one control group."""

    target: Size = described("Size.")
    cgroup: CgroupPath = described("Control group, with everything below it.")


def _scoped(value: Any) -> str:
    return "(of a group)" if isinstance(value, dict) else "(plain)"


ScopedShare = Annotated[
    Annotated[Share, Tag("(plain)")] | Annotated[GroupShare, Tag("(of a group)")],
    Discriminator(_scoped),
]
ScopedRate = Annotated[
    Annotated[RatePerMinute, Tag("(plain)")] | Annotated[GroupRate, Tag("(of a group)")],
    Discriminator(_scoped),
]
ScopedSize = Annotated[
    Annotated[Size, Tag("(plain)")] | Annotated[GroupSize, Tag("(of a group)")],
    Discriminator(_scoped),
]


class NodeGoal(Shape):
    """A share of one NUMA node's memory."""

    target: Share = described("Share of the node's memory.")
    node: Node = described("NUMA node.", kernel="quotas/goals/N/nid")


class MemcgGoal(Shape):
    """A control group's share of one NUMA node's memory."""

    target: Share = described("Share of the node's memory.")
    node: Node = described("NUMA node.", kernel="quotas/goals/N/nid")
    cgroup: CgroupPath = described(
        "Control group, with everything below it.", kernel="quotas/goals/N/path"
    )


class GoalShape(Shape):
    """One goal by the name of its metric. Exactly one of these."""

    memory_psi_some: ScopedShare | None = described(
        "Share of the quota interval in which some task waited for memory.", None,
        since="6.9", kernel="some_mem_psi_us",
    )  # fmt: skip
    node_mem_used: NodeGoal | None = described(
        "Share of the node's memory that is in use.", None, since="6.16", kernel="node_mem_used_bp"
    )
    node_mem_free: NodeGoal | None = described(
        "Share of the node's memory that is free.", None, since="6.16", kernel="node_mem_free_bp"
    )
    node_memcg_used: MemcgGoal | None = described(
        "Share of the node's memory used by the group.", None,
        since="6.19", kernel="node_memcg_used_bp",
    )  # fmt: skip
    node_memcg_free: MemcgGoal | None = described(
        "Share of the node's memory not used by the group.", None,
        since="6.19", kernel="node_memcg_free_bp",
    )  # fmt: skip
    active_mem: Share | None = described(
        "Share of the LRU lists' pages that are on active lists.", None,
        since="7.0", kernel="active_mem_bp",
    )  # fmt: skip
    inactive_mem: Share | None = described(
        "Share of the LRU lists' pages that are on inactive lists.", None,
        since="7.0", kernel="inactive_mem_bp",
    )  # fmt: skip
    node_eligible_mem: NodeGoal | None = described(
        "Of the memory that matches this scheme's pattern, the share on the node. "
        "Physical targets only.", None, since="7.2", kernel="node_eligible_mem_bp",
    )  # fmt: skip
    user_input: UserInput | None = described(
        "A number you feed.", None, since="6.8", kernel="user_input"
    )
    memory_psi_full: ScopedShare | None = described(
        "Share of time in which all tasks waited for memory.", None
    )
    io_psi_some: ScopedShare | None = described(
        "Share of time in which some task waited for I/O.", None
    )
    io_psi_full: ScopedShare | None = described(
        "Share of time in which all tasks waited for I/O.", None
    )
    rss: Size | None = described("Resident size of the target's processes.", None)
    pss: Size | None = described("Proportional size of the target's processes.", None)
    memory_current: ScopedSize | None = described(
        "memory.current of the target's control group, or of the one named.", None
    )
    free_memory: Share | None = described("Share of the machine's memory that is free.", None)
    working_set: Size | None = described(
        "Size of the memory found in use. Not measured yet: unsupported.", None
    )
    refault_rate: ScopedRate | None = described(
        "Pages needed again after they were evicted, as share of what is resident.", None
    )
    swap_in_rate: ScopedRate | None = described(
        "Pages swapped in, as share of what is resident.", None
    )
    major_fault_rate: ScopedRate | None = described(
        "Major faults, as share of what is resident.", None
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, "a goal")
        return self


def parse_target(metric: GoalMetric, value: str | int) -> int:
    """A target of the long form in base units. Raises `UnitError`."""
    unit = METRIC_UNITS.get(metric, MetricUnit.SHARE)
    if unit is MetricUnit.COUNT:
        if isinstance(value, int) and value >= 0:
            return value
        raise UnitError(f"{value!r} is not a whole number", hint="write it like 10000")
    text = str(value)
    if len(text) > 64:
        raise UnitError(f"{text[:20]}... is not a quantity")
    if unit is MetricUnit.SIZE:
        return parse_size_bytes(text)
    if unit is MetricUnit.SHARE_PER_MINUTE:
        return parse_rate_bp(text)
    return parse_share_bp(text)


class LongGoalShape(Shape):
    """The same, with the metric as a value."""

    metric: GoalMetric = described("Name of the metric.", kernel="quotas/goals/N/target_metric")
    target: str | StrictInt = described(
        "Target in the metric's unit.", kernel="quotas/goals/N/target_value"
    )
    current: StrictInt | None = described(
        "What user_input is now.", None, kernel="quotas/goals/N/current_value",
        ge=0, le=ULONG_MAX,
    )  # fmt: skip
    node: Node | None = described("NUMA node of the node_* metrics.", None)
    cgroup: CgroupPath | None = described(
        "Control group of node_memcg_*, pressures, rates and memory_current.", None
    )

    @model_validator(mode="after")
    def _target_unit(self) -> Self:
        try:
            parse_target(self.metric, self.target)
        except UnitError as error:
            fail("DA026", f"target of {self.metric}: {error.message}", error.hint or "")
        return self


def _goal_form(value: Any) -> str:
    return "(long)" if isinstance(value, dict) and "metric" in value else "(short)"


AnyGoal = Annotated[
    Annotated[GoalShape, Tag("(short)")] | Annotated[LongGoalShape, Tag("(long)")],
    Discriminator(_goal_form),
]


class WeightsShape(Shape):
    """What is done first while the quota lasts. Only the ratio of access_rate and age matters."""

    size: U32 = described("Weight of the region's size; the kernel ignores it.", 0,
        kernel="quotas/weights/sz_permil")  # fmt: skip
    access_rate: U32 = described("Weight of the access rate.", 0,
        kernel="quotas/weights/nr_accesses_permil")  # fmt: skip
    age: U32 = described("Weight of the age.", 0, kernel="quotas/weights/age_permil")


class FailChargeShape(Shape):
    """Which share of the bytes an action failed on counts against the quota."""

    numerator: U32 = described("Numerator.", kernel="quotas/fail_charge_num")
    denominator: U32 = described("Denominator.", kernel="quotas/fail_charge_denom")

    @model_validator(mode="after")
    def _share(self) -> Self:
        if self.denominator == 0 or self.numerator > self.denominator:
            share = f"{self.numerator}/{self.denominator}"
            fail("DA062", f"{share} is not a share", "write {numerator: 1, denominator: 1024}")
        return self


class QuotaShape(Shape):
    """Limits per interval; whichever is reached first. Also what tunes them."""

    time: TimeCap | None = described(
        "Time the action may take per interval, in whole milliseconds.", None, kernel="quotas/ms"
    )
    size: SizeCap | None = described(
        "Memory the action may be tried on per interval.", None, kernel="quotas/bytes"
    )
    interval: Duration = described(
        "The interval the limits are per, in whole milliseconds; 24d at most.",
        kernel="quotas/reset_interval_ms",
    )
    weights: WeightsShape | None = described(
        "Priorities under the quota; without it, access_rate and age count the same.", None
    )
    goals: list[AnyGoal] = described(
        "What the quota is tuned toward, below the caps `time` and `size`: by the kernel where it "
        "measures the same, else by the agent.",
        default_factory=list, shown=[], since="6.8",
    )  # fmt: skip
    tuner: Tuner = described(
        "consist: proportional feedback. temporal: full speed until the goal is met, then stop.",
        Tuner.CONSIST, since="7.1", kernel="quotas/goal_tuner",
    )  # fmt: skip
    fail_charge: FailChargeShape | None = described(
        "Charge failures less than fully.", None, since="7.2"
    )
