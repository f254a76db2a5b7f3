"""A document of kind Policy, whole."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, StrictInt, Tag, model_validator

from damos_agent.config.quantities import (
    U32,
    Duration,
    DurationBound,
    FilePath,
    Name,
    Node,
    Permil,
    RateBound,
    Share,
    ShareBound,
    fail,
)
from damos_agent.config.shape import Metadata, Shape, described, one_source
from damos_agent.config.shape_filter import FilterShape, SizeRangeShape
from damos_agent.config.shape_quota import QuotaShape
from damos_agent.config.shape_target import TargetShape
from damos_agent.model.policy import Action, BackendChoice, Mode, ProbeChoice
from damos_agent.model.units import ULONG_MAX


class WatermarkMetric(StrEnum):
    """What watermarks are about."""

    FREE_MEM_RATE = "free_mem_rate"


class IntervalsGoalShape(Shape):
    """Let the kernel tune the intervals so that this share of the possible accesses is seen."""

    access: Share = described(
        "Share of observed to possible access events.", kernel="intervals/intervals_goal/access_bp"
    )
    aggregations: U32 = described(
        "Aggregations between two adjustments.", kernel="intervals/intervals_goal/aggrs"
    )
    min_sampling_interval: Duration = described(
        "Shortest sampling interval.", kernel="intervals/intervals_goal/min_sample_us"
    )
    max_sampling_interval: Duration = described(
        "Longest sampling interval; 71m at most.", kernel="intervals/intervals_goal/max_sample_us"
    )


class UserspaceShape(Shape):
    """The agent's own monitor, which works where DAMON cannot: how it looks, and its budget."""

    probe: ProbeChoice = described(
        "What tells whether memory was accessed. auto: the best that works here; pte is "
        "experimental and used only when it is named; memcg is for cgroups, units and containers; "
        "writes sees writes only, so that it serves only action stat.",
        ProbeChoice.AUTO,
    )  # fmt: skip
    cpu: Share = described(
        "Share of one core that monitoring may take; it looks less often rather than take more.",
        100, shown="1%",
    )  # fmt: skip
    stall: Duration = described(
        "How long one look may keep a process from changing its memory map.", 20_000,
        shown="20ms",
    )  # fmt: skip


class ExternalShape(Shape):
    """A number from outside that may not grow too large, such as a latency. Exactly one source."""

    feed: Name | None = described("Fed by `damosctl feed NAME NUMBER`.", None)
    file: FilePath | None = described("The first word of that file, a whole number.", None)
    max: StrictInt = described("What it may be at most, in its own unit.", ge=1, le=ULONG_MAX)
    stale_after: Duration = described(
        "From then on it counts as unknown, which slows page-out down.", 60_000_000, shown="1m"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        one_source(self.feed, self.file)
        return self


class GuardShape(Shape):
    """How much harm page-out may do: it slows down close to a limit and pauses beyond.

    `max` takes a limit away.
    """

    refaults: RateBound = described(
        "How much of the resident memory may be needed again within a minute.", 20,
        shown="0.2%/min",
    )  # fmt: skip
    memory_psi: ShareBound = described(
        "Share of time in which some task may wait for memory: in the target's control group, or "
        "on the machine.", 500, shown="5%",
    )  # fmt: skip
    io_psi: ShareBound = described(
        "The same for I/O.", 3_000, shown="30%",
    )  # fmt: skip
    swap_free: Share = described(
        "Share of the swap space that stays free; 0% takes this limit away.", 1_000, shown="10%"
    )
    cpu: ShareBound = described(
        "Share of one core that the policy's kdamond, or the monitor process, and the agent may "
        "take.", 2_000, shown="20%",
    )  # fmt: skip
    external: list[ExternalShape] = described(
        "Numbers of your own.", default_factory=list, shown=[]
    )


class MonitoringShape(Shape):
    """How accesses are observed. The defaults suit most machines."""

    sampling_interval: Duration = described(
        "Time between two access checks of a region; 71m at most.", 5_000, shown="5ms",
        kernel="monitoring_attrs/intervals/sample_us",
    )  # fmt: skip
    aggregation_interval: Duration = described(
        "Time over which checks are summed up; the unit of age.", 100_000, shown="100ms",
        kernel="monitoring_attrs/intervals/aggr_us",
    )  # fmt: skip
    update_interval: Duration = described(
        "Time between two looks at the processes' memory maps.", 1_000_000, shown="1s",
        kernel="monitoring_attrs/intervals/update_us",
    )  # fmt: skip
    min_regions: U32 = described(
        "Fewest regions, over all processes.", 10, kernel="monitoring_attrs/nr_regions/min"
    )
    max_regions: U32 = described(
        "Most regions: bounds the overhead.", 1_000, kernel="monitoring_attrs/nr_regions/max"
    )
    intervals_goal: IntervalsGoalShape | None = described(
        "Auto-tuning of the sampling and aggregation intervals.", None, since="6.15"
    )
    userspace: UserspaceShape = described(
        "Of the user-space backend only.", default_factory=UserspaceShape, shown={}
    )


class ShareRangeShape(Shape):
    """Closed range of shares."""

    min: Share = described("Smallest.", 0, shown="0%")
    max: ShareBound = described("Largest, or max.", None, shown="max")


class TimeRangeShape(Shape):
    """Closed range of times."""

    min: Duration = described("Shortest.", 0, shown="0s")
    max: DurationBound = described("Longest, or max.", None, shown="max")


def _age_form(value: Any) -> str:
    return "(auto)" if value == "auto" else "(range)"


AgeRange = Annotated[
    Annotated[Literal["auto"], Tag("(auto)")] | Annotated[TimeRangeShape, Tag("(range)")],
    Discriminator(_age_form),
]


class PatternShape(Shape):
    """The regions the scheme is about; what is not given is not restricted."""

    size: SizeRangeShape | None = described("Size of the region.", None, kernel="access_pattern/sz")
    access_rate: ShareRangeShape | None = described(
        "Share of the access checks that found an access.", None,
        kernel="access_pattern/nr_accesses",
    )  # fmt: skip
    age: AgeRange | None = described(
        "How long size and access rate have stayed about the same. auto (pageout of idle memory "
        "only): the youngest age at which no more comes back than guard.refaults allows, found out "
        "by watching, and followed as it changes.", None, kernel="access_pattern/age",
    )  # fmt: skip


class WatermarksShape(Shape):
    """Work only while free memory is in a band: off above high and below low, on below mid."""

    metric: WatermarkMetric = described(
        "free_mem_rate: free share of the machine's memory.", WatermarkMetric.FREE_MEM_RATE,
        kernel="watermarks/metric",
    )  # fmt: skip
    interval: Duration = described(
        "Time between two looks while inactive; 71m at most.", kernel="watermarks/interval_us"
    )
    high: Permil = described("Inactive above; in steps of 0.1%.", kernel="watermarks/high")
    mid: Permil = described("Becomes active below.", kernel="watermarks/mid")
    low: Permil = described("Inactive below: the kernel's own reclaim rules there.",
        kernel="watermarks/low")  # fmt: skip


class DestinationShape(Shape):
    """A NUMA node to migrate to."""

    node: Node = described("NUMA node.", kernel="target_nid, dests/N/id")
    weight: U32 = described(
        "Relative share of the pages.", 1, since="6.17", kernel="dests/N/weight"
    )


class SchemeShape(Shape):
    """What is done with which memory, how often, and within which limits."""

    action: Action = described("DAMOS action.", kernel="action")
    pattern: PatternShape = described(
        "Which regions. Required unless the action is stat.",
        default_factory=PatternShape,
        shown={},
        kernel="access_pattern",
    )
    apply_interval: Duration | None = described(
        "Time between two applications; the aggregation interval if not given.", None,
        since="6.7", kernel="apply_interval_us",
    )  # fmt: skip
    quota: QuotaShape | None = described("How much.", None, kernel="quotas")
    filters: list[FilterShape] = described(
        "Which memory inside the regions, in order. The kernel's core or ops layer is chosen "
        "by the filter.", default_factory=list, shown=[], since="6.3",
    )  # fmt: skip
    watermarks: WatermarksShape | None = described("When.", None, kernel="watermarks")
    destinations: list[DestinationShape] = described(
        "Where to, for migrate_hot and migrate_cold.", default_factory=list, shown=[],
        since="6.11",
    )  # fmt: skip
    max_nr_snapshots: StrictInt = described(
        "Stop after so many passes over the memory; 0 means never.", 0,
        since="7.0", kernel="stats/max_nr_snapshots", ge=0, le=ULONG_MAX,
    )  # fmt: skip

    @model_validator(mode="after")
    def _pattern_is_deliberate(self) -> Self:
        if "pattern" not in self.model_fields_set and self.action is not Action.STAT:
            fail(
                "DA023",
                f"`pattern` is required for {self.action}",
                "add pattern:, or pattern: {} where all memory is meant",
            )
        return self


class PolicySpec(Shape):
    """The policy itself."""

    mode: Mode = described(
        "observe: install every scheme with action stat and report what would be done. "
        "enforce: do it.", Mode.OBSERVE,
    )  # fmt: skip
    backend: BackendChoice = described(
        "kernel: DAMON. userspace: the agent's own monitor. auto: DAMON where it can.",
        BackendChoice.AUTO,
    )
    target: TargetShape = described("Whose memory.")
    monitoring: MonitoringShape = described(
        "How accesses are observed.", default_factory=MonitoringShape, shown={}
    )
    guard: GuardShape = described(
        "Limits to what page-out may cost the workload.", default_factory=GuardShape, shown={}
    )
    schemes: list[SchemeShape] = described(
        "What is done.", min_length=1, kernel="schemes/nr_schemes"
    )


class PolicyDocument(Shape):
    """A damos-agent memory policy."""

    api_version: Literal["damos-agent/v1"] = described(
        "Version of the policy language.", alias="apiVersion"
    )
    kind: Literal["Policy"] = described("Kind of the document.")
    metadata: Metadata = described("Who this policy is.")
    spec: PolicySpec = described("What it says.")
